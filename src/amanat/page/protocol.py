"""The messages of the page to the client: JSON, strictly decoded.

The page *asks*, with a number, and is answered under that number. The client *tells*, unasked. It
tells facts and never changes: a whole message or a whole summary, by its key. So a fact told twice,
late, or after a gap does no harm, and a page that comes back asks again for what it shows.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from amanat import qr
from amanat.errors import MalformedFrame
from amanat.media.voice import WAVEFORM_BYTES
from amanat.page.backups import BackupAsk, Restore
from amanat.page.forms import (
    MAX_MESSAGES,
    ChatKey,
    Form,
    Line,
    Many,
    MessageId,
    Name,
    Number,
    PositionText,
    Region,
    Secret,
)
from amanat.page.histories import HistoryAsk

MAX_ASK_BYTES = 560 * 1024
"""A picture of the largest kind (qr.MAX_SIDE) in base64, and what stands around it."""

Side = Annotated[int, msgspec.Meta(ge=1, le=qr.MAX_SIDE)]
"""A side of a picture, in points."""
SettingName = Annotated[str, msgspec.Meta(pattern="^[a-z]{1,20}$")]
SettingValue = Annotated[str, msgspec.Meta(max_length=40)]
MAX_SETTINGS = 30
"""Most settings of the page."""


class _Where(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="at"):
    """A place in a conversation."""


class Newest(_Where, frozen=True, tag="newest"):
    """Its end."""


class Unread(_Where, frozen=True, tag="unread"):
    """The first message that the person has not read."""


class Before(_Where, frozen=True, tag="before"):
    """The messages before a position."""

    position: PositionText


class After(_Where, frozen=True, tag="after"):
    """The messages after a position."""

    position: PositionText


class Around(_Where, frozen=True, tag="around"):
    """A message, with those on both sides of it."""

    message: MessageId


class Share(_Where, frozen=True, tag="share"):
    """As far into the conversation as the scroll bar was drawn: from 0 to 1."""

    of: Annotated[float, msgspec.Meta(ge=0, le=1)]


class Day(_Where, frozen=True, tag="day"):
    """The first message of a day or of a later one; the day begins then, in Unix milliseconds."""

    since: Number


Where: TypeAlias = Newest | Unread | Before | After | Around | Share | Day


class Begin(Form, frozen=True, tag="begin"):
    """Everything that stands outside conversations."""


# Before the profile is open


class Create(Form, frozen=True, tag="create"):
    """Make a person. Without a passphrase the key rests in the system keyring; without a relay the
    page starts one on this machine, in `region`. Relays are reached through a `proxy` at HOST:PORT,
    if one is named, with a `login` such as USER:PASSWORD."""

    name: Name
    passphrase: Secret | None
    relay: Line = ""
    access: Line = ""
    region: Region | None = None
    proxy: Line = ""
    login: Secret = ""


class Unlock(Form, frozen=True, tag="unlock"):
    """Open the profile; without a passphrase, with the key in the system keyring."""

    passphrase: Secret | None


class Lock(Form, frozen=True, tag="lock"):
    """Close the profile, and forget its key."""


class Passphrase(Form, frozen=True, tag="passphrase"):
    """Let another secret open the profile from now on; None stands for the system keyring."""

    old: Secret | None
    new: Secret | None


class Wipe(Form, frozen=True, tag="wipe"):
    """Destroy the profile; `name` is the person's own, which they have typed."""

    name: Name


ProfileAsk: TypeAlias = Begin | Create | Restore | Unlock | Lock | Passphrase | Wipe

# In a conversation


class History(Form, frozen=True, tag="history"):
    """A part of a conversation."""

    chat: ChatKey
    where: Where
    many: Many = 30


class Send(Form, frozen=True, tag="send"):
    """Say a text."""

    chat: ChatKey
    text: str
    reply_to: MessageId | None = None


class Forward(Form, frozen=True, tag="forward"):
    """Say the words of a text again in another conversation."""

    chat: ChatKey
    message: MessageId
    to: ChatKey


class Edit(Form, frozen=True, tag="edit"):
    """Replace the words of a text of one's own."""

    chat: ChatKey
    message: MessageId
    text: str


class React(Form, frozen=True, tag="react"):
    """React to a text; with an empty `emoji`, take that back."""

    chat: ChatKey
    message: MessageId
    emoji: Line


class Delete(Form, frozen=True, tag="delete"):
    """Delete texts for everyone, or here alone."""

    chat: ChatKey
    messages: Annotated[list[MessageId], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    for_everyone: bool


class Clear(Form, frozen=True, tag="clear"):
    """Delete all texts of a conversation here alone."""

    chat: ChatKey


class Timer(Form, frozen=True, tag="timer"):
    """Let new texts disappear this many seconds after they were read; 0: never."""

    chat: ChatKey
    seconds: Number


class Seen(Form, frozen=True, tag="seen"):
    """The messages that arrived up to a row were on the screen."""

    chat: ChatKey
    row: Number


class Draft(Form, frozen=True, tag="draft"):
    """Keep what is being written."""

    chat: ChatKey
    text: str
    reply_to: MessageId | None = None


class Pin(Form, frozen=True, tag="pin"):
    """Keep a conversation at the top of the list, or no longer."""

    chat: ChatKey
    is_pinned: bool


class Mute(Form, frozen=True, tag="mute"):
    """Announce nothing of a conversation until then, in Unix milliseconds; None ends this."""

    chat: ChatKey
    until: Number | None


class Archive(Form, frozen=True, tag="archive"):
    """Take a conversation out of the list, or put it back."""

    chat: ChatKey
    is_archived: bool


class Search(Form, frozen=True, tag="search"):
    """The messages that hold some words, of one conversation or of all; with `before`, only rows
    below it."""

    words: Line
    chat: ChatKey | None = None
    before: Number | None = None
    many: Many = 50


class Export(Form, frozen=True, tag="export"):
    """Write a conversation into a new file in the person's downloads."""

    chat: ChatKey
    form: Literal["html", "json"]


class Details(Form, frozen=True, tag="details"):
    """The people of a conversation, their rights, and where its data rests."""

    chat: ChatKey


TalkAsk: TypeAlias = History | Send | Forward | Edit | React | Delete | Seen | Draft | Search
ChatAsk: TypeAlias = Clear | Timer | Pin | Mute | Archive | Export | Details

# With people


class CallMe(Form, frozen=True, tag="name"):
    """Take another name; the client tells everybody."""

    name: Name


class Notes(Form, frozen=True, tag="notes"):
    """The conversation with oneself, of which nothing goes to any relay."""


class Invite(Form, frozen=True, tag="invite"):
    """Make an invite for one person."""

    life_s: Number | None = None


class Invites(Form, frozen=True, tag="invites"):
    """The invites that can still be used."""


class WithdrawInvite(Form, frozen=True, tag="withdraw invite"):
    """Make an invite useless."""

    invite: Name


class Accept(Form, frozen=True, tag="accept"):
    """Knock on an invite."""

    link: Line
    greeting: Line = ""


class ReadPicture(Form, frozen=True, tag="read picture"):
    """The text of a QR code in a picture: a shade of grey for each point (amanat.qr)."""

    width: Side
    height: Side
    shades: Annotated[bytes, msgspec.Meta(max_length=qr.MAX_SIDE**2)]


class SafetyNumber(Form, frozen=True, tag="safety number"):
    """The number to compare with a contact."""

    contact: Name


class Verify(Form, frozen=True, tag="verify"):
    """Record whether the safety number was compared."""

    contact: Name
    is_verified: bool


class Block(Form, frozen=True, tag="block"):
    """Ignore a contact from now on, or no longer."""

    contact: Name
    is_blocked: bool


class RemoveContact(Form, frozen=True, tag="remove contact"):
    """Part with a contact, and delete here what was said with them."""

    contact: Name


class Adds(Form, frozen=True, tag="adds"):
    """Set what happens when a contact adds us to a group."""

    adds: Literal["join", "ask"]


class Knocks(Form, frozen=True, tag="knocks"):
    """Set what happens when somebody knocks on an invite of ours."""

    knocks: Literal["let-in", "ask"]


class LetIn(Form, frozen=True, tag="let in"):
    """Let somebody in who has knocked and waits."""

    visitor: Name


class TurnAway(Form, frozen=True, tag="turn away"):
    """Turn them away, and tell them nothing."""

    visitor: Name


class ReadMarks(Form, frozen=True, tag="read marks"):
    """Set whether the others learn what we have read, and we what they have."""

    are_told: bool


class AcceptOffer(Form, frozen=True, tag="accept offer"):
    """Join a group that a contact offers."""

    offer: Name


class DeclineOffer(Form, frozen=True, tag="decline offer"):
    """Decline it; with `is_blocked`, block the contact instead and tell them nothing."""

    offer: Name
    is_blocked: bool


InviteAsk: TypeAlias = Invite | Invites | WithdrawInvite | Accept
PeopleAsk: TypeAlias = CallMe | Notes | SafetyNumber | Verify | Block | RemoveContact
AnswerAsk: TypeAlias = Knocks | LetIn | TurnAway | Adds | AcceptOffer | DeclineOffer | ReadMarks

# In groups

People = Annotated[list[Name], msgspec.Meta(max_length=1000)]


class CreateGroup(Form, frozen=True, tag="create group"):
    """Start a group with contacts."""

    name: Name
    people: People


class Add(Form, frozen=True, tag="add"):
    """Add contacts to a group."""

    chat: ChatKey
    people: People


class Remove(Form, frozen=True, tag="remove"):
    """Remove a member."""

    chat: ChatKey
    person: Name


class Rename(Form, frozen=True, tag="rename"):
    """Rename a group."""

    chat: ChatKey
    name: Name


class Admin(Form, frozen=True, tag="admin"):
    """Give or take a member's admin rights."""

    chat: ChatKey
    person: Name
    is_admin: bool


_Holders: TypeAlias = Literal["admins", "members"]


class Roles(Form, frozen=True, tag="roles"):
    """Set who may add, remove and rename."""

    chat: ChatKey
    may_add: _Holders
    may_remove: _Holders
    may_rename: _Holders


class Leave(Form, frozen=True, tag="leave"):
    """Leave a conversation; with `is_blocked`, block the person who added us."""

    chat: ChatKey
    is_blocked: bool = False


class Rejoin(Form, frozen=True, tag="rejoin"):
    """Join a group that is out of step again, in the state that a contact offers."""

    chat: ChatKey
    helper: Name


GroupAsk: TypeAlias = CreateGroup | Add | Remove | Rename | Admin | Roles | Leave | Rejoin

# Files


class Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that the page brings over a socket of its own: this comes first, then its bytes."""

    chat: ChatKey
    name: Annotated[str, msgspec.Meta(max_length=1000)]
    size: Number
    text: str = ""
    reply_to: MessageId | None = None
    album: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{16})?$")] = ""
    """Random bytes that all pictures of one album have, in hex."""
    how: Literal["file", "picture", "voice", "look"] = "file"
    """Whether it is sent as it is, or as a picture or a voice note that is made anew; or only read,
    for the traces that would stay in it."""
    waveform: Annotated[bytes, msgspec.Meta(max_length=WAVEFORM_BYTES)] = b""
    """Of a voice note."""


class Transfers(Form, frozen=True, tag="transfers"):
    """The files of a conversation that are on their way."""

    chat: ChatKey


class Files(Form, frozen=True, tag="files"):
    """The messages that are files, the newest first: before a position, or after one; all, or only
    pictures that are here."""

    chat: ChatKey
    pictures: bool = False
    before: PositionText | None = None
    after: PositionText | None = None
    many: Many = 30


class Links(Form, frozen=True, tag="links"):
    """The messages whose words may hold a link, the newest first: before a position, or all."""

    chat: ChatKey
    before: PositionText | None = None
    many: Many = 30


class Carry(Form, frozen=True, tag="carry"):
    """Pause a transfer, go on with it, or give it up."""

    transfer: Number
    what: Literal["pause", "resume", "cancel"]


class Fetch(Form, frozen=True, tag="fetch"):
    """Fetch the file of a message; `relay` is where it rests, if the person was shown that this is
    no relay of its sender's."""

    chat: ChatKey
    message: MessageId
    relay: Name | None = None


class AskAgain(Form, frozen=True, tag="ask again"):
    """Ask the sender of a file to put it up again."""

    chat: ChatKey
    message: MessageId


class Ticket(Form, frozen=True, tag="ticket"):
    """Where the browser gets the file of a message, or its preview, which is here."""

    chat: ChatKey
    message: MessageId


class Played(Form, frozen=True, tag="played"):
    """The person has played a voice note."""

    chat: ChatKey
    message: MessageId


class FileRules(Form, frozen=True, tag="file rules"):
    """Set up to how many bytes a file of a contact is fetched by itself, -1 for none, and how many
    bytes of fetched files are kept. A limit that the ask leaves out stays. The answer has both."""

    auto_bytes: Annotated[int, msgspec.Meta(ge=-1, le=2**53 - 1)] | None = None
    room_bytes: Number | None = None


FileAsk: TypeAlias = (
    FileRules | Transfers | Files | Links | Carry | Fetch | AskAgain | Ticket | Played
)

# At home


class Status(Form, frozen=True, tag="status"):
    """How the client stands just now."""


class Exit(Form, frozen=True, tag="exit"):
    """Make another relay the home."""

    relay: Line
    access: Line = ""


class Fallback(Form, frozen=True, tag="fallback"):
    """Be reachable at a second relay while the home is away; at none, with an empty `relay`."""

    relay: Line
    access: Line = ""


class Place(Form, frozen=True, tag="place"):
    """Tell where a relay is now."""

    relay: Line


class Regions(Form, frozen=True, tag="regions"):
    """Set the regions where our data may rest; None: any."""

    regions: Annotated[list[Region], msgspec.Meta(max_length=300)] | None


class Strict(Form, frozen=True, tag="strict"):
    """Set whether home and fallback must be in one region."""

    is_strict: bool


class Outbound(Form, frozen=True, tag="outbound"):
    """Set where our words for people of other regions rest."""

    policy: Literal["deposit", "hold"]


class Hop(Form, frozen=True, tag="hop"):
    """Set how requests reach relays: "auto", "off" or the address of a relay."""

    hop: Line


class Cover(Form, frozen=True, tag="cover"):
    """Let one cell leave in each period of so many seconds; 0: no cover."""

    period_s: Literal[0, 30, 60]


class Proxy(Form, frozen=True, tag="proxy"):
    """Reach relays through the proxy at HOST:PORT, with a login such as USER:PASSWORD if it asks
    for one; through none, with an empty `proxy`."""

    proxy: Line
    login: Secret = ""


class ClearWarnings(Form, frozen=True, tag="clear warnings"):
    """The person has seen the warnings."""


class Health(Form, frozen=True, tag="health"):
    """Check the vault."""


# Of the page itself


class Emoji(Form, frozen=True, tag="emoji"):
    """The emoji and their names."""


class Settings(Form, frozen=True, tag="settings"):
    """Keep all settings of the page, in place of those that are kept."""

    values: Annotated[dict[SettingName, SettingValue], msgspec.Meta(max_length=MAX_SETTINGS)]


HomeAsk: TypeAlias = (
    Status
    | Exit
    | Fallback
    | Place
    | Regions
    | Strict
    | Outbound
    | Hop
    | Cover
    | Proxy
    | ClearWarnings
    | Health
)

ClientAsk: TypeAlias = (
    TalkAsk
    | ChatAsk
    | InviteAsk
    | PeopleAsk
    | AnswerAsk
    | GroupAsk
    | FileAsk
    | HistoryAsk
    | BackupAsk
    | HomeAsk
    | Emoji
    | ReadPicture
    | Settings
)
"""An ask that only an open profile answers."""
Ask: TypeAlias = ProfileAsk | ClientAsk

_DECODER = msgspec.json.Decoder(Ask)
_OFFERS = msgspec.json.Decoder(Offer)
MAX_OFFER_BYTES = 128 * 1024
"""Words of the longest kind, twice as long where each letter is escaped, and what stands around."""


def decode_ask(data: bytes) -> Ask:
    """The ask of a page. Raises MalformedFrame."""
    if len(data) > MAX_ASK_BYTES:
        raise MalformedFrame
    try:
        ask: Ask = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedFrame from None
    return ask


def decode_offer(data: bytes) -> Offer:
    """The offer of a page that brings a file. Raises MalformedFrame."""
    if len(data) > MAX_OFFER_BYTES:
        raise MalformedFrame
    try:
        return _OFFERS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedFrame from None


class _Numbered(msgspec.Struct, frozen=True):
    id: Number


_NUMBERS = msgspec.json.Decoder(_Numbered)


def number_of(data: bytes) -> int | None:
    """The number under which bytes that are no ask can be refused, if they have one: a person may
    have typed more into a field than it holds, and has to hear of that."""
    try:
        return _NUMBERS.decode(data).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
