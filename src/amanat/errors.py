"""Every error of Amanat: its stable code, one sentence for a person, and its exit status.

Errors are sorted by the caller's next action, which is the only question that a caller has:

    AmanatError
    ├── UsageError    not allowed now               fix the call         exit 2
    ├── PeerError     the other side broke a rule   drop it, never retry exit 3
    ├── Unavailable   nothing is wrong, not now     retry later          exit 4
    └── TrustError    a promise cannot be kept      stop, tell the person exit 5

Anything else is our own bug (exit 70). On the wire an error is its `code`, with `retry_after` if
waiting helps: never a text and never a detail.
"""

from __future__ import annotations

import errno
from typing import ClassVar

EXIT_BUG = 70
"""Exit status for an error of none of the families: a bug (sysexits' EX_SOFTWARE)."""

BY_CODE: dict[str, type[AmanatError]] = {}
"""Every error class by its code, for turning a code read from the wire back into an error."""


class AmanatError(Exception):
    """Base of all errors; raise a subclass.

    `detail` is for the person at this machine (a path, a limit); it never goes on the wire.
    `retry_after` is in seconds, None if waiting does not help.
    """

    code: ClassVar[str] = ""
    text: ClassVar[str] = ""
    hint: ClassVar[str] = ""
    exit_status: ClassVar[int] = EXIT_BUG

    def __init__(self, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.code:
            return
        if cls.code in BY_CODE:
            raise TypeError(f"error code {cls.code!r} is used twice")
        BY_CODE[cls.code] = cls

    def __str__(self) -> str:
        return f"{self.text} ({self.detail})" if self.detail else self.text


class UsageError(AmanatError):
    """Not allowed now: fix the call."""

    exit_status = 2


class PeerError(AmanatError):
    """The other side broke the protocol: drop what it sent, never retry it."""

    exit_status = 3


class Unavailable(AmanatError):
    """Nothing is wrong, but not now: retry, after `retry_after` if it is given."""

    exit_status = 4


class TrustError(AmanatError):
    """A security promise cannot be kept: stop and tell the person."""

    exit_status = 5


# Usage: the program cannot do what the caller asked for.


class BadSetting(UsageError):
    code = "bad-setting"
    text = "a setting is unknown or has a value that is not allowed"


class PortTaken(UsageError):
    code = "port-taken"
    text = "another program listens on this port"
    hint = "stop that program, or give this one another port"


class BadArgument(UsageError):
    code = "bad-argument"
    text = "an argument has a value that is not allowed"


class NoProfile(UsageError):
    code = "no-profile"
    text = "there is no profile here"
    hint = "make one with `amanat init`"


class ProfileExists(UsageError):
    code = "profile-exists"
    text = "there is a profile here already"


class ProfileInUse(UsageError):
    code = "profile-in-use"
    text = "another process is using this profile"
    hint = (
        "stop that process first, because two would fork its keys; only `amanat run` works"
        " for other commands"
    )


class NotPermitted(UsageError):
    code = "not-permitted"
    text = "the system does not let you read or write this"
    hint = "check its owner, its mode, and whether the disk is mounted read-only"


class OtherVersion(UsageError):
    code = "other-version"
    text = "the running `amanat run` is of another version of the program"
    hint = "end it, and start `amanat run` again"


class ReportExists(UsageError):
    code = "report-exists"
    text = (
        "this directory already holds something other than an unfinished drill with these settings"
    )
    hint = "give another directory with --report"


class MoveUnderWay(UsageError):
    code = "move-under-way"
    text = "a move of this relay has begun and has not ended"
    hint = "continue it with `amanat region move --resume`, or undo it with `--abandon`"


class NoticeRuns(UsageError):
    code = "notice-runs"
    text = "a relay may move only on or after the date of a notice that people were shown"
    hint = "announce the move with `amanat region notice`, and move on its date"


class ScrubUnderWay(UsageError):
    code = "scrub-under-way"
    text = "another scrub of this cluster is under way"
    hint = "wait for it to end: one scrub is enough for all relays on a cluster"


class NotInstalled(UsageError):
    code = "not-installed"
    text = "a program that this command needs is not installed"
    hint = "`make real` installs the programs that a drill of real servers needs"


class WrongPassphrase(UsageError):
    code = "wrong-passphrase"
    text = "the passphrase does not open this vault"


class ProfileLocked(UsageError):
    code = "profile-locked"
    text = "the profile is locked"
    hint = "open it on the page with your passphrase"


class VaultTooNew(UsageError):
    code = "vault-too-new"
    text = "this vault was written by a newer version of Amanat"
    hint = "install the newer version; nothing was changed"


class VaultTooOld(UsageError):
    code = "vault-too-old"
    text = "this vault was made before Amanat 0.1.0, which cannot open it"
    hint = (
        "nothing was changed: copy what you need with the version that made it, then make a new"
        " profile with `amanat init` in an empty directory and meet your contacts again"
    )


class StoreTooNew(UsageError):
    code = "store-too-new"
    text = "this relay's store was written by a newer version of Amanat"
    hint = "install the newer version; nothing was changed"


class StoreTooOld(UsageError):
    code = "store-too-old"
    text = "this relay's store was made before Amanat 0.1.0, which cannot open it"
    hint = (
        "nothing was changed: go on with the version that made it, or make a new relay with"
        " `amanat relay init` in an empty directory"
    )


class UnknownContact(UsageError):
    code = "unknown-contact"
    text = "no contact has this name"
    hint = "see `amanat contacts`"


class UnknownConversation(UsageError):
    code = "unknown-conversation"
    text = "no conversation has this name"
    hint = "see `amanat contacts` and `amanat group list`"


class AmbiguousName(UsageError):
    code = "ambiguous-name"
    text = "this name stands for more than one person or group"
    hint = "use the id instead; `--json` shows it"


class NotAMember(UsageError):
    code = "not-a-member"
    text = "you are not a member of this conversation"


class NotAdmin(UsageError):
    code = "not-admin"
    text = "only an admin of the group may do this"


class GroupTooLarge(UsageError):
    code = "group-too-large"
    text = "the group would grow beyond the size that its ciphersuite allows"


class MessageTooLarge(UsageError):
    code = "message-too-large"
    text = "the message is longer than the largest cell holds"


class FileOverLimit(UsageError):
    code = "file-over-limit"
    text = "the file is longer than a file that can be sent"
    hint = "cut it into parts of at most a gigabyte"


class NoFile(UsageError):
    code = "no-file"
    text = "this message is not a file"
    hint = "`amanat files NAME` lists the files of a conversation"


class FileElsewhere(UsageError):
    code = "file-elsewhere"
    text = "this file rests at a relay that its sender did not name as theirs"
    hint = "fetching it shows that relay your network address: name the relay, if you want that"


class FileCovered(UsageError):
    code = "file-covered"
    text = "a file cannot be hidden among the cells of covered transport"
    hint = "switch cover off for as long as it takes with `amanat cover off`"


class LabMissing(UsageError):
    code = "lab-missing"
    text = "this command needs the lab, which is not installed"
    hint = "`pip install 'amanat[lab]'` installs it"


class UnknownHelp(UsageError):
    code = "unknown-help"
    text = "that person has not helped us to a state of this group"
    hint = "`amanat group rejoin GROUP` shows the people who have"


class UnknownMessage(UsageError):
    code = "unknown-message"
    text = "there is no such message here"
    hint = "`amanat read --all` shows the id of each; it may have been deleted or have expired"


class NotYours(UsageError):
    code = "not-yours"
    text = "only its author may change a message for everyone"
    hint = "`amanat delete --only-here` removes it from this machine"


class Blocked(UsageError):
    code = "blocked"
    text = "you have blocked this person"
    hint = "`amanat unblock` them first"


class InviteUsed(UsageError):
    code = "invite-used"
    text = "this invite has been used or withdrawn"
    hint = "ask for a new invite"


class InviteExpired(UsageError):
    code = "invite-expired"
    text = "this invite has expired"
    hint = "ask for a new invite"


class UnknownInvite(UsageError):
    code = "unknown-invite"
    text = "there is no such open invite"
    hint = "`amanat invites` lists the open invites"


class UnknownVisitor(UsageError):
    code = "unknown-visitor"
    text = "nobody with this name or id waits for your answer"
    hint = "`amanat visitors` lists the people who do"


class NotAnExport(UsageError):
    code = "not-an-export"
    text = "this is no export that can be imported"
    hint = "give the folder or the file of an export of Telegram Desktop or WhatsApp"


class NewerExport(UsageError):
    code = "newer-export"
    text = "this export is in a format that this program does not know yet"
    hint = "update the program; nothing was imported"


class BrokenExport(UsageError):
    code = "broken-export"
    text = "this export is broken"
    hint = "make it again; what was imported before stays"


class OpenDates(UsageError):
    code = "open-dates"
    text = "this chat does not show whether its dates begin with the day or with the month"
    hint = "say it with --day-first or --month-first"


class UnknownImport(UsageError):
    code = "unknown-import"
    text = "no imported chat has this number"
    hint = "`amanat imported` lists them"


class WrongPhrase(UsageError):
    code = "wrong-phrase"
    text = "this recovery phrase opens no backup here"
    hint = "give the 24 words in their order, or their numbers"


class WordCount(WrongPhrase):
    code = "word-count"
    text = "a recovery phrase has 24 words"
    hint = "give all of them in their order, or their numbers"


class UnknownWord(WrongPhrase):
    code = "unknown-word"
    text = "a word is not in the list of recovery words"
    hint = "its first four letters are enough, or its number from 1 to 2048"


class PhraseSlip(WrongPhrase):
    code = "phrase-slip"
    text = "a word of this recovery phrase is wrong, or two stand in each other's place"
    hint = "compare it with your paper, word by word"


class OtherWord(WrongPhrase):
    code = "other-word"
    text = "the recovery phrase has another word at this place"
    hint = "look at your paper; if it is lost, `amanat backup begin FOLDER --new-phrase`"


class WrongShares(UsageError):
    code = "wrong-shares"
    text = "these shares do not make a recovery phrase"
    hint = "give any three of the five, each with its 33 words in their order, or their numbers"


class NewerArchive(UsageError):
    code = "newer-archive"
    text = "this backup was written by a newer version of Amanat"
    hint = "install the newer version; nothing was changed"


class NoBackup(UsageError):
    code = "no-backup"
    text = "there is no backup"
    hint = "`amanat backup begin FOLDER` makes one every day"


class OwnInvite(UsageError):
    code = "own-invite"
    text = "this invite is your own"


class BrokenInvite(UsageError):
    code = "broken-invite"
    text = "this is not a whole Amanat invite"
    hint = "copy the whole link again"


class RegionNotAllowed(UsageError):
    code = "region-not-allowed"
    text = "the relay is in a region you have not allowed"
    hint = "allow it with `amanat home --allow-regions`"


class RegionsDiffer(UsageError):
    code = "regions-differ"
    text = "home and fallback must be in one region, but are not"
    hint = "give a fallback in the region of the home, or none; or allow two with --no-strict"


class BrokenAddress(UsageError):
    code = "broken-address"
    text = "this is not a whole relay address"
    hint = "it looks like amanat://HOST:PORT/#KEY; the relay prints it"


class BrokenPicture(UsageError):
    code = "broken-picture"
    text = "this is not a whole picture of a kind that can be sent as one"
    hint = "send a JPEG, PNG, WebP or GIF, or send it as a file, in which place and time may stay"


class PictureTooLarge(UsageError):
    code = "picture-too-large"
    text = "the picture has more than 64 million points or more than 64 MiB"
    hint = "make it smaller, or send it as a file, in which place and time may stay"


class MovingPicture(UsageError):
    code = "moving-picture"
    text = "the picture moves"
    hint = "send it as a file, in which place and time may stay"


class PictureUnread(UsageError):
    code = "picture-unread"
    text = "reading the picture took more time or memory than it may"
    hint = "make it smaller, or send it as a file, in which place and time may stay"


class BrokenRecording(UsageError):
    code = "broken-recording"
    text = "this is not a whole recording of a kind that can be sent as a voice note"
    hint = "record Opus in WebM or Ogg, or send it as a file, in which time and device may stay"


class RecordingTooLong(UsageError):
    code = "recording-too-long"
    text = "a voice note has at most ten minutes"
    hint = "send it in parts, or as a file, in which time and device may stay"


# Peer: the other side broke a rule.


class MalformedFrame(PeerError):
    code = "malformed-frame"
    text = "the bytes are not a frame of this protocol"


class IdInUse(PeerError):
    """An error that ends the connection by the protocol's rules: no honest peer counts so badly."""

    code = "id-in-use"
    text = "a request has the id of another that is not answered yet"


class FrameTooLarge(PeerError):
    code = "frame-too-large"
    text = "the frame is longer than the limit"


class NoSuchDrop(PeerError):
    """No such drop, or a wrong token: one answer, so that existence does not leak."""

    code = "no-such-drop"
    text = "there is no such drop, or the token does not belong to it"


class NoAccess(PeerError):
    code = "no-access"
    text = "this relay gives access only to its own people"
    hint = "ask its operator for an access code"


class DropConflict(PeerError):
    code = "drop-conflict"
    text = "this drop exists already with other tokens or of another kind"


class LabelTaken(PeerError):
    code = "label-taken"
    text = "this label already holds other bytes"


class BadCell(PeerError):
    code = "bad-cell"
    text = "the cell is not of an allowed size for this drop"


class CellTooLarge(PeerError):
    code = "cell-too-large"
    text = "the next cell of the drop does not fit into a page"


class WrongRegion(PeerError):
    code = "wrong-region"
    text = "this drop belongs to another region"


class UnsupportedVersion(PeerError):
    code = "unsupported-version"
    text = "the other side speaks another version of the protocol"


class BrokenDescriptor(PeerError):
    code = "broken-descriptor"
    text = "the relay's descriptor is malformed or not signed by its key"


class BrokenLedger(PeerError):
    code = "broken-ledger"
    text = "a checkpoint or a part of the relay's ledger is malformed or not signed by its key"


class NotInLedger(PeerError):
    code = "not-in-ledger"
    text = "the relay's ledger has no such part"


class BrokenMove(PeerError):
    code = "broken-move"
    text = "a statement about a move is malformed, contradicts itself or is not signed by its relay"


class MoveRefused(PeerError):
    code = "move-refused"
    text = "this relay has no part in that move"
    hint = "the destination must have the source's address under [moving] in its relay.toml"


class BrokenCertificate(PeerError):
    code = "broken-certificate"
    text = "the certificate is malformed or not signed by both relays"


class BrokenReport(PeerError):
    code = "broken-report"
    text = "the audit's report is malformed, was edited or is not signed by the relay it names"


class DropMoved(PeerError):
    """The answer that names the order of the move, so that the client that asked can follow."""

    code = "drop-moved"
    text = "this drop has moved to another relay"

    def __init__(
        self, detail: str = "", *, retry_after: float | None = None, order: bytes = b""
    ) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.order = order
        """Signed by the relay that the client asked (protocol/moving.py)."""


class BrokenSeal(PeerError):
    code = "broken-seal"
    text = "a sealed request or answer cannot be opened"


class HopRefused(PeerError):
    code = "hop-refused"
    text = "this relay does not forward requests to that one"
    hint = "see `amanat hop`"


class UnexpectedReply(PeerError):
    code = "unexpected-reply"
    text = "the relay sent an answer that nobody asked for"


class InvalidCell(PeerError):
    """One opaque answer for every failure to open a cell (no oracle)."""

    code = "invalid-cell"
    text = "the cell does not open"


class InvalidMessage(PeerError):
    code = "invalid-message"
    text = "the message is malformed or does not decrypt"


class InvalidCommit(PeerError):
    code = "invalid-commit"
    text = "the Commit is not valid for this group"


class OldGeneration(InvalidCommit):
    code = "old-generation"
    text = "a device that was replaced by a restored profile tries to come back into a conversation"
    hint = "it did not get in; if it is a contact's, ask them whether they use their old device"


class InvalidWelcome(PeerError):
    code = "invalid-welcome"
    text = "the Welcome is malformed or not for this client"


class InvalidFile(PeerError):
    code = "invalid-file"
    text = "the file is not the one that was announced"


class InvalidKeyPackage(PeerError):
    code = "invalid-key-package"
    text = "the KeyPackage is malformed, out of date or wrongly signed"


class InvalidCredential(PeerError):
    code = "invalid-credential"
    text = "the credential is not signed by the identity it names"


class ReusedSecret(PeerError):
    """RFC 9420, section 9.2: a generation's key is used once. A replay lands here."""

    code = "reused-secret"
    text = "the message has been decrypted before"


class TooOld(PeerError):
    code = "too-old"
    text = "the message is from an epoch or generation whose key is gone"


class WrongEpoch(PeerError):
    """RFC 9420, section 6: a message belongs to the epoch that it names. Nobody will read this one
    later."""

    code = "wrong-epoch"
    text = "the message is from an epoch that is over"


class OwnMessage(PeerError):
    code = "own-message"
    text = "the message was sent by this client itself"


# Unavailable: try again later.


class MovedAway(Unavailable):
    code = "moved-away"
    text = "your data at this relay has moved to a region you have not allowed"
    hint = "leave with `amanat exit --to RELAY`, or allow it with `amanat home --allow-regions`"


class ExportUnfinished(Unavailable):
    code = "export-unfinished"
    text = "this export is still being written"
    hint = "wait until it is done, and import it again: nothing comes twice"


class RelayUnreachable(Unavailable):
    code = "relay-unreachable"
    text = "the relay does not answer"
    hint = "the client keeps your words and sends them when the relay answers"


class NotPublic(RelayUnreachable):
    code = "not-public"
    text = (
        "another person says that this relay is on a private network: the client does not"
        " call it there"
    )
    hint = "if you know the relay, name it yourself: `amanat place ADDRESS`"


class HopAway(RelayUnreachable):
    code = "hop-away"
    text = "the hop cannot be reached; outgoing requests wait for it"
    hint = "`amanat hop off` asks relays directly: then they see your network address"


class NoHop(HopAway):
    code = "no-hop"
    text = "covered transport needs a hop, and there is none"
    hint = (
        "add a second relay by another operator that forwards requests (`amanat home --fallback`)"
    )


class ProxyAway(RelayUnreachable):
    code = "proxy-away"
    text = "the proxy does not connect you; nothing goes around it"
    hint = "start it, or set another address or login with `amanat proxy`"


class BackgroundGone(Unavailable):
    code = "background-gone"
    text = "the process of `amanat run` ended before this was done"
    hint = "check whether it was done before you do it again"


class BackgroundBusy(Unavailable):
    code = "background-busy"
    text = "the running `amanat run` is doing as many commands at once as it may"
    hint = "end one of them, such as a `read --follow`"


class RelayBusy(Unavailable):
    code = "relay-busy"
    text = "the relay has reached a limit"


class ClusterUnready(Unavailable):
    """A relay does not start, because the cluster with its drops does not answer."""

    code = "cluster-unready"
    text = "the relay's cluster does not answer"
    hint = "`amanat relay cluster check` says which nodes are away; then start the relay again"


class FileIncomplete(Unavailable):
    code = "file-incomplete"
    text = "a part of the file is missing, or has not arrived yet"


class FileGone(Unavailable):
    code = "file-gone"
    text = "the file no longer rests at its relay"
    hint = "ask its sender to put it up again: `amanat files NAME --again ID`"


class DropFull(Unavailable):
    code = "drop-full"
    text = "the drop holds as many cells or bytes as it may"


class DiskFull(Unavailable):
    """Nothing was written: the state is the one before."""

    code = "disk-full"
    text = "there is no room left on the disk"
    hint = "nothing is harmed: make room, and try again"


class FolderAway(Unavailable):
    code = "folder-away"
    text = "the folder of the backups is not there"
    hint = "plug in the disk that it is on, or name another folder"


class FileTooLarge(DiskFull):
    code = "file-too-large"
    text = "a file has reached the largest size that is allowed here"
    hint = "nothing is harmed: check `ulimit -f` and the limits of the file system"


class DiskFailed(DiskFull):
    code = "disk-failed"
    text = "the disk reports an error"
    hint = "nothing was written: check the system's log, and copy your data before you go on"


class OutputFailed(Unavailable):
    code = "output-failed"
    text = "the result could not be shown"


class NoMemory(Unavailable):
    code = "no-memory"
    text = "there is not enough memory"
    hint = "opening a vault takes 256 MiB for a moment"


class Draining(Unavailable):
    code = "draining"
    text = "the relay is shutting down"


class Overrun(Unavailable):
    code = "overrun"
    text = "a program did not take its events for too long, and has to read them again"


class OutOfStep(Unavailable):
    code = "out-of-step"
    text = "the client is joining this conversation again"
    hint = "try again when a contact who is in it has been online"


class FutureEpoch(Unavailable):
    code = "future-epoch"
    text = "the message is from an epoch that this client has not reached yet"


class PendingCommit(Unavailable):
    code = "pending-commit"
    text = "a Commit of this client waits for its place in the epoch drop"


# Trust: stop, tell the person.


class IdentityChanged(TrustError):
    code = "identity-changed"
    text = "the key of this contact is not the one you know"
    hint = "nothing was sent; compare safety numbers before you go on"


class NameChanged(TrustError):
    code = "name-changed"
    text = "somebody has given themselves another name"
    hint = "it is the same person with the same key"


class RelayKeyChanged(TrustError):
    code = "relay-key-changed"
    text = "the relay shows another key than its address pins"
    hint = "someone may stand between you and the relay; nothing was sent"


class RelayLied(TrustError):
    code = "relay-lied"
    text = "the relay's answers contradict each other: a cell was removed, changed or reordered"


class RelayDoubted(TrustError):
    code = "relay-doubted"
    text = (
        "somebody says that a relay showed them something different from what it showed us:"
        " one of them lies"
    )


class GroupVouched(TrustError):
    code = "group-vouched"
    text = "only one person vouches for what happened to the group while we were away"
    hint = "check its members and its admins"


class MoveAnnounced(TrustError):
    code = "move-announced"
    text = "an operator of your relays has announced that everything there moves to another region"
    hint = (
        "`amanat status` shows the destination and the day to decide by; `amanat exit` leaves"
        " instead"
    )


class LedgerRewritten(TrustError):
    code = "ledger-rewritten"
    text = "the relay's ledger is not the one that it signed before"
    hint = "it was rewritten or restored from an older copy; ask the relay's operator"


class BrokenChain(TrustError):
    code = "broken-chain"
    text = "somebody said two different things under one number"
    hint = "their vault was copied and used twice, or their program lies; ask them"


class HeardOtherwise(TrustError):
    code = "heard-otherwise"
    text = (
        "a member says that another member told them something different from us: one of them lies"
    )


class CopiedVault(TrustError):
    code = "copied-vault"
    text = "another copy of this vault was used after this one"
    hint = "use only one of them; the client is joining its conversations again"


class ProfileReplaced(TrustError):
    code = "profile-replaced"
    text = "this profile was restored elsewhere, and the restored one has taken its place"
    hint = "go on with the restored profile, and wipe this one: it says nothing more there"


class OldDevice(TrustError):
    code = "old-device"
    text = "the device that this profile was restored from is still in use"
    hint = (
        "it says nothing more where this one is; wipe it, and if it was stolen, somebody uses it:"
        " tell your contacts"
    )


class MessageLost(TrustError):
    code = "message-lost"
    text = "a message is lost: its sender no longer has it"
    hint = "ask them to write it again"


class BrokenControl(TrustError):
    code = "broken-control"
    text = (
        "an attack does not find something that the server is told: the drill is broken, and"
        " proves nothing"
    )


class VaultDamaged(TrustError):
    code = "vault-damaged"
    text = "the vault is damaged or is not a vault"


class BlobDamaged(TrustError):
    code = "blob-damaged"
    text = "the copy of a file on this machine is damaged or missing"
    hint = "check the disk, and ask the file's sender for it again"


class BrokenArchive(TrustError):
    code = "broken-archive"
    text = "this backup is damaged, and nothing of it was taken"
    hint = "an earlier one in the same folder may be whole: `amanat backup check FILE`"


class StoreDamaged(TrustError):
    code = "store-damaged"
    text = "the relay's store is damaged"


class EngineFailed(TrustError):
    """The MLS engine panicked or its state is poisoned; reload it from the vault."""

    code = "engine-failed"
    text = "the MLS engine failed and was stopped before it could do harm"


BY_ERRNO: dict[int, type[AmanatError]] = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EFBIG: FileTooLarge,
    errno.EIO: DiskFailed,
    errno.EROFS: NotPermitted,
    errno.EACCES: NotPermitted,
    errno.EPERM: NotPermitted,
    errno.ENOMEM: NoMemory,
}
"""Our errors for those of the system, by its error number."""
