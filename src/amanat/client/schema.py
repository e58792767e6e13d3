"""The schema of a vault: its first tables, and how a vault comes to the tables of today.

The first vaults had the tables of `SCHEMA`, which stays unchanged. A change to them is one more
step (steps.py): a new vault is made by `SCHEMA` and all steps, and an older one takes the steps
that it lacks.

Times whose names end in `_at` are in Unix milliseconds. `gid` is the MLS group id of a
conversation, `identity` a person's Ed25519 public key, `signer` the signature key of one of their
leaves, `relay` a relay's key, and `seq` a number that counts from 1.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from amanat.client.steps import STEPS as STEPS  # noqa: PLC0414  # named with the schema

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = """
-- Ourselves

-- What there is one of: our keys, our homes and settings.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- The MLS engine's own state: opaque keys and values.
CREATE TABLE mls (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Claims and what is in them: ours, and whether they came back to us; and those of other copies of
-- this vault that we have read.
CREATE TABLE known_claim (
    number INTEGER PRIMARY KEY, content BLOB NOT NULL, is_read INTEGER NOT NULL
) STRICT;

-- Warnings until the person has seen them: one of each kind about somebody (`whom`, an identity or
-- a relay's key) in a conversation, and how many there were. Empty: about no one, in none.
CREATE TABLE warning (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, code TEXT NOT NULL,
    gid BLOB NOT NULL, whom BLOB NOT NULL, detail TEXT NOT NULL,
    is_trust INTEGER NOT NULL,         -- these stay, however many others there are
    many INTEGER NOT NULL DEFAULT 1,
    UNIQUE (code, gid, whom)
) STRICT;

-- People, and how they were met

CREATE TABLE contact (
    identity     BLOB PRIMARY KEY,
    name         TEXT NOT NULL,
    conversation BLOB NOT NULL UNIQUE, -- gid of the 1:1 conversation
    verified     INTEGER NOT NULL DEFAULT 0,
    added_at     INTEGER NOT NULL,
    blocked      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Contacts' lasting X25519 keys: a way to them that needs nothing but our own.
CREATE TABLE way_back (identity BLOB PRIMARY KEY, delivery BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Where people have told us to reach them since they made their leaf.
CREATE TABLE new_address (
    identity BLOB PRIMARY KEY, version INTEGER NOT NULL, addresses BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What people have told us that they are called, since they made their leaf.
CREATE TABLE new_name (
    identity BLOB PRIMARY KEY, version INTEGER NOT NULL, name TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Invites of ours, for as long as they can be answered.
CREATE TABLE invite (
    secret     BLOB PRIMARY KEY,       -- one-time secret of the knock's cell
    private    BLOB NOT NULL,          -- HPKE private key
    made_at    INTEGER NOT NULL,
    drops      BLOB NOT NULL DEFAULT x'', -- drop ids of ours in it, if we have left one since
    expires_at INTEGER NOT NULL DEFAULT 0,
    sealed     BLOB NOT NULL DEFAULT x'', -- a knock put aside until `answer_at`: both have knocked
    answer_at  INTEGER
) STRICT;

-- Knocks of ours that were not answered yet.
CREATE TABLE knock (
    reply_secret BLOB PRIMARY KEY,     -- one-time secret of the cell that answers
    identity     BLOB NOT NULL,        -- the inviter
    name         TEXT NOT NULL,
    greeting     TEXT NOT NULL,
    made_at      INTEGER NOT NULL,
    drops        BLOB NOT NULL DEFAULT x'', -- as in invite
    invite       BLOB NOT NULL DEFAULT x'', -- the invite's secret
    expires_at   INTEGER NOT NULL DEFAULT 0, -- when the invite does
    is_told      INTEGER NOT NULL DEFAULT 0 -- whether the person was told that it has
) STRICT;

-- Our KeyPackages that contacts hold, and theirs that we hold.
CREATE TABLE key_package (
    ref BLOB PRIMARY KEY, identity BLOB NOT NULL, made_at INTEGER NOT NULL,
    bucket_seq INTEGER NOT NULL,       -- seq up to which our bucket had been read then
    nonce BLOB NOT NULL DEFAULT x''    -- of its leaf, which a wish to leave names
) STRICT;
CREATE TABLE their_key_package (
    ref BLOB PRIMARY KEY, identity BLOB NOT NULL, suite INTEGER NOT NULL, data BLOB NOT NULL
) STRICT;

-- Conversations

CREATE TABLE conversation (
    gid        BLOB PRIMARY KEY,
    state      TEXT NOT NULL,          -- 'active', 'leaving', 'left', 'removed', 'replaced',
                                       -- 'astray', 'notes'
    sent_seq   INTEGER NOT NULL DEFAULT 0,
    sent_hash  BLOB NOT NULL,          -- hash of our last envelope
    clock      INTEGER NOT NULL DEFAULT 0,
    read_row   INTEGER NOT NULL DEFAULT 0, -- the last message row the person was shown
    ack_due_at INTEGER,                -- NULL: no receipt owed
    look_due_at INTEGER,               -- when to look into the epoch drop next
    sure_seq   INTEGER NOT NULL,       -- seq of our bucket up to which no later member speaks
    beat_due_at INTEGER,               -- when to send a heartbeat; NULL: none is due
    beats      INTEGER NOT NULL DEFAULT 0, -- heartbeats since we last spoke
    refresh_due_at INTEGER,            -- when to refresh our leaf's keys
    refreshed_at INTEGER NOT NULL DEFAULT 0,
    hidden     INTEGER NOT NULL DEFAULT 0, -- texts of blocked people that were not kept
    counted    INTEGER NOT NULL DEFAULT 0, -- seq before the first envelope of the count we are in
    added_by   BLOB NOT NULL DEFAULT x'' -- who has added us to a group; empty: nobody
) STRICT;

-- Welcomes we were told of and have not fetched yet.
CREATE TABLE joining (
    gid BLOB NOT NULL, ref BLOB NOT NULL, inviter BLOB NOT NULL, told_at INTEGER NOT NULL,
    PRIMARY KEY (gid, inviter)
) STRICT;

-- Groups that contacts ask us into, until the person has said yes or no: as they call it, where the
-- Welcome rests, and the reference of the KeyPackage that they used.
CREATE TABLE offer (
    id INTEGER PRIMARY KEY, gid BLOB NOT NULL, inviter BLOB NOT NULL, name TEXT NOT NULL,
    ref BLOB NOT NULL, key_package BLOB NOT NULL, told_at INTEGER NOT NULL,
    UNIQUE (gid, inviter)
) STRICT;

-- Epochs and Commits

-- Epoch drops that are still read: of the current epoch and of a few before it.
CREATE TABLE epoch_drop (
    gid BLOB NOT NULL, epoch INTEGER NOT NULL, secret BLOB NOT NULL,
    made INTEGER NOT NULL DEFAULT 0,   -- we have asked the relay to make it
    region TEXT NOT NULL DEFAULT '',
    signers BLOB NOT NULL DEFAULT x'', -- the signature keys of the epoch's leaves
    relay BLOB NOT NULL DEFAULT x'',   -- where it rests
    PRIMARY KEY (gid, epoch)
) STRICT, WITHOUT ROWID;

-- Pieces of what is not whole yet, in the order in which they came: `place` is the drop, or a
-- conversation that is being joined again and its drop, and `leaf` is their author's.
CREATE TABLE fragment (
    id INTEGER PRIMARY KEY,
    place BLOB NOT NULL, whole BLOB NOT NULL, leaf INTEGER NOT NULL, idx INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (place, whole, idx)
) STRICT;
CREATE INDEX fragment_author ON fragment (place, leaf);

-- Messages of an epoch we have not reached.
CREATE TABLE early (
    id INTEGER PRIMARY KEY, gid BLOB NOT NULL, data BLOB NOT NULL,
    kept_at INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Changes of a group a person asked for that no Commit has made yet.
CREATE TABLE intent (
    id INTEGER PRIMARY KEY, gid BLOB NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL,
    due_at INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Our own Commit on its way: whether it wins is decided by the epoch drop.
CREATE TABLE attempt (
    gid BLOB PRIMARY KEY, epoch INTEGER NOT NULL, digest BLOB NOT NULL,
    welcome BLOB, tree BLOB, joiners TEXT NOT NULL, -- JSON list of identities, hex
    is_refresh INTEGER NOT NULL DEFAULT 0,
    data BLOB NOT NULL DEFAULT x'',    -- the Commit itself, to be appended again
    whole BLOB NOT NULL DEFAULT x'',   -- what its pieces call it
    missing BLOB NOT NULL DEFAULT x''  -- indexes of the pieces the drop has still to show
) STRICT;

-- The epochs we have been in, by the first 8 bytes of their states, and since when.
CREATE TABLE epoch (
    gid BLOB NOT NULL, number INTEGER NOT NULL, state BLOB NOT NULL,
    entered_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (gid, number)
) STRICT, WITHOUT ROWID;

-- States of a group that its lineage begins from: GroupInfo and tree.
CREATE TABLE base (
    gid BLOB NOT NULL, epoch INTEGER NOT NULL, info BLOB NOT NULL, tree BLOB NOT NULL,
    PRIMARY KEY (gid, epoch)
) STRICT, WITHOUT ROWID;

-- The Commit that ended an epoch; whether we have read it in its drop as the first rightful one.
CREATE TABLE step (
    gid BLOB NOT NULL, epoch INTEGER NOT NULL, data BLOB NOT NULL, is_read INTEGER NOT NULL,
    PRIMARY KEY (gid, epoch)
) STRICT;

-- Other rightful Commits that end an epoch than the one we went with, by their SHA-256; when to
-- look at the votes about them (NULL: when others come).
CREATE TABLE sibling (
    gid BLOB NOT NULL, epoch INTEGER NOT NULL, name BLOB NOT NULL, data BLOB NOT NULL,
    known_at INTEGER NOT NULL, due_at INTEGER,
    PRIMARY KEY (gid, epoch, name)
) STRICT;

-- What members, ourselves too, have read in the drop of an epoch (messages.Vote).
CREATE TABLE vote (
    gid BLOB NOT NULL, epoch INTEGER NOT NULL, signer BLOB NOT NULL, name BLOB NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (gid, epoch, signer, name)
) STRICT, WITHOUT ROWID;

-- Commits that somebody has handed us, for the epochs that they would end; and whether we have put
-- them into the drop.
CREATE TABLE handed (
    gid BLOB NOT NULL, epoch INTEGER NOT NULL, data BLOB NOT NULL,
    is_out INTEGER NOT NULL DEFAULT 0,
    whole BLOB NOT NULL DEFAULT x'', missing BLOB NOT NULL DEFAULT x'', -- as in attempt
    PRIMARY KEY (gid, epoch)
) STRICT;

-- The last Commit of ours that a relay has refused for good, by its SHA-256.
CREATE TABLE refused (
    gid BLOB PRIMARY KEY, digest BLOB NOT NULL,
    again_at INTEGER                   -- when to make another; NULL: we have
) STRICT, WITHOUT ROWID;

-- Coming back

-- Conversations about which contacts are asked: whether our keys have been used by another copy of
-- the vault; of a mere claim, who has made it, in which epoch they say to be, and how often
-- somebody is asked still. `asked` are those who were; `ref` is a file of help to be fetched. From
-- `digest` on: our external Commit, if one is on its way, the help it was made from, where it goes,
-- and up to which seq the drop holds no rightful one.
CREATE TABLE comeback (
    gid BLOB PRIMARY KEY, is_lost INTEGER NOT NULL, is_restart INTEGER NOT NULL,
    whom BLOB, number INTEGER, state BLOB, asks_left INTEGER,
    ask_due_at INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    asked BLOB NOT NULL DEFAULT x'',
    helper BLOB, nonce BLOB, ref BLOB, told_at INTEGER,
    digest BLOB, commit_data BLOB, help BLOB, epoch INTEGER, secret BLOB, relay BLOB, region TEXT,
    judged INTEGER, signers BLOB, whole BLOB, missing BLOB
) STRICT;

-- Help that does not show how the group came there.
CREATE TABLE unproven (
    gid BLOB NOT NULL, helper BLOB NOT NULL, help BLOB NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (gid, helper)
) STRICT;

-- Whose asking was answered: an answer has one label and is made once.
CREATE TABLE helped (
    nonce BLOB PRIMARY KEY, identity BLOB NOT NULL, at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Chains and envelopes

-- Pair chains, by lane (labels.Lane). `epoch` is the one of whose secret the chain begins. Of one
-- that has ended (`ended_at`) what was on its way is still looked for, `reach` positions beyond the
-- highest seen.
CREATE TABLE chain_out (
    gid BLOB NOT NULL, identity BLOB NOT NULL, lane INTEGER NOT NULL, chain BLOB NOT NULL,
    PRIMARY KEY (gid, identity, lane)
) STRICT, WITHOUT ROWID;
CREATE TABLE chain_in (
    gid BLOB NOT NULL, signer BLOB NOT NULL, lane INTEGER NOT NULL, epoch INTEGER NOT NULL,
    base INTEGER NOT NULL, chain BLOB NOT NULL, highest INTEGER NOT NULL,
    received TEXT NOT NULL,            -- JSON list of positions received above base
    reach INTEGER NOT NULL, ended_at INTEGER,
    PRIMARY KEY (gid, signer, lane, epoch)
) STRICT, WITHOUT ROWID;

-- Of each device we know an unbroken row of envelopes, up to `upto`.
CREATE TABLE heard (
    gid BLOB NOT NULL, signer BLOB NOT NULL, identity BLOB NOT NULL,
    upto INTEGER NOT NULL,
    base INTEGER NOT NULL DEFAULT 0,   -- where we came in: what is below may come and is no gap
    hash BLOB NOT NULL DEFAULT x'',    -- of the envelope `upto`; empty: not known
    told INTEGER NOT NULL DEFAULT 0,   -- the highest seq that must exist
    ask_due_at INTEGER,                -- when to ask for what is missing; NULL: nothing is
    asked INTEGER NOT NULL DEFAULT 0,  -- how often we have
    mark BLOB NOT NULL DEFAULT x'0000000000000000', -- came with the last envelope heard
    told_them INTEGER NOT NULL DEFAULT 0, -- how far we have told them that we have heard
    hint INTEGER NOT NULL DEFAULT 0,   -- what others say it has said, beyond `told`...
    hint_until INTEGER NOT NULL DEFAULT 0, -- ...and until when (Unix ms) it is asked for for that
    came INTEGER NOT NULL DEFAULT 0,   -- the epoch in which we came, until it says how far it had
                                       -- counted then; 0: it has, or it came later than we
    PRIMARY KEY (gid, signer)
) STRICT, WITHOUT ROWID;

-- Envelopes heard beyond a gap.
CREATE TABLE ahead (
    gid BLOB NOT NULL, signer BLOB NOT NULL, seq INTEGER NOT NULL,
    previous BLOB NOT NULL, hash BLOB NOT NULL,
    mark BLOB NOT NULL DEFAULT x'0000000000000000', -- as in heard
    PRIMARY KEY (gid, signer, seq)
) STRICT, WITHOUT ROWID;

-- Runs of numbers that were given up: what comes of them after all is taken.
CREATE TABLE lost (
    gid BLOB NOT NULL, signer BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (gid, signer, first)
) STRICT, WITHOUT ROWID;

-- Somebody spoke at `sent_at` of their clock, and had not got our envelope `seq`, long since out.
CREATE TABLE unheard (
    gid BLOB NOT NULL, identity BLOB NOT NULL, seq INTEGER NOT NULL, sent_at INTEGER NOT NULL,
    PRIMARY KEY (gid, identity)
) STRICT, WITHOUT ROWID;

-- Our own envelopes that not everybody has confirmed.
CREATE TABLE sent (
    gid BLOB NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL,
    envelope BLOB NOT NULL,            -- empty: its words were taken away
    said_at INTEGER NOT NULL,
    is_quiet INTEGER NOT NULL,         -- a receipt or a heartbeat, or one without its words
    previous BLOB,                     -- of one without its words: the hash before it
    hash BLOB,
    PRIMARY KEY (gid, seq)
) STRICT, WITHOUT ROWID;

-- Envelopes of ours that are said once we are in step: by their ids, without a place in our count.
CREATE TABLE waiting (
    id INTEGER PRIMARY KEY, gid BLOB NOT NULL, envelope BLOB NOT NULL, kind INTEGER NOT NULL,
    body BLOB NOT NULL, clock INTEGER NOT NULL, sent_at INTEGER NOT NULL,
    UNIQUE (gid, envelope)
) STRICT;

-- How many envelopes we had sent when each member came: those before are not theirs to ask for.
CREATE TABLE since (
    gid BLOB NOT NULL, signer BLOB NOT NULL, sent_seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 0,  -- in which they came
    told INTEGER NOT NULL DEFAULT 0,   -- in how many envelopes they were told of it
    PRIMARY KEY (gid, signer)
) STRICT, WITHOUT ROWID;

-- What each person confirmed of our messages: everything up to `seq`.
CREATE TABLE receipt (
    gid BLOB NOT NULL, identity BLOB NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (gid, identity)
) STRICT, WITHOUT ROWID;

-- Messages

CREATE TABLE message (
    row INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: read_row may stand at one deleted
    gid BLOB NOT NULL,
    id  BLOB NOT NULL,                 -- messages.message_id
    envelope BLOB NOT NULL,            -- the envelope's own id
    identity BLOB NOT NULL, signer BLOB NOT NULL,
    seq INTEGER NOT NULL, clock INTEGER NOT NULL,
    sent_at INTEGER NOT NULL, kept_at INTEGER NOT NULL, -- by their clock, and by ours
    text TEXT,                         -- NULL: deleted by its author
    reply_to BLOB,                     -- the id of what it answers
    life_s INTEGER NOT NULL DEFAULT 0, -- 0: for ever
    expires_at INTEGER,                -- NULL: never
    is_forwarded INTEGER NOT NULL DEFAULT 0, -- its author says that they forward it
    is_delivered INTEGER NOT NULL DEFAULT 0, -- ours: everybody it was for has confirmed it
    UNIQUE (gid, id)
) STRICT;
CREATE INDEX message_order ON message (gid, clock, identity, seq, id);
CREATE INDEX message_row ON message (gid, row, identity);
CREATE INDEX message_expiry ON message (expires_at) WHERE expires_at IS NOT NULL;

-- How many messages a conversation holds.
CREATE TABLE tally (gid BLOB PRIMARY KEY, held INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER message_came AFTER INSERT ON message BEGIN
    INSERT OR IGNORE INTO tally VALUES (new.gid, 0);
    UPDATE tally SET held = held + 1 WHERE gid = new.gid;
END;
CREATE TRIGGER message_went AFTER DELETE ON message BEGIN
    UPDATE tally SET held = held - 1 WHERE gid = old.gid;
END;
CREATE TRIGGER message_moved AFTER UPDATE OF gid ON message BEGIN
    INSERT OR IGNORE INTO tally VALUES (new.gid, 0);
    UPDATE tally SET held = held - 1 WHERE gid = old.gid;
    UPDATE tally SET held = held + 1 WHERE gid = new.gid;
END;

-- The words of all texts (folding.py), by their messages' rows; without the texts.
CREATE VIRTUAL TABLE said
    USING fts5 (words, content = '', tokenize = 'ascii', detail = 'column', columnsize = 0);
INSERT INTO said (said, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER said_came AFTER INSERT ON message WHEN new.text IS NOT NULL BEGIN
    INSERT INTO said (rowid, words) VALUES (new.row, fold(new.text));
END;
CREATE TRIGGER said_went AFTER DELETE ON message WHEN old.text IS NOT NULL BEGIN
    INSERT INTO said (said, rowid, words) VALUES ('delete', old.row, fold(old.text));
END;
CREATE TRIGGER said_changed AFTER UPDATE OF text ON message BEGIN
    INSERT INTO said (said, rowid, words)
        SELECT 'delete', old.row, fold(old.text) WHERE old.text IS NOT NULL;
    INSERT INTO said (rowid, words)
        SELECT new.row, fold(new.text) WHERE new.text IS NOT NULL;
END;

-- How the person has arranged a conversation, in this vault alone.
CREATE TABLE desk (
    gid BLOB PRIMARY KEY,
    draft TEXT NOT NULL DEFAULT '',    -- what is being written ...
    reply_to BLOB,                     -- ... and the id of what that answers
    pinned_at INTEGER, muted_until INTEGER, is_archived INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What was done with messages: of each kind and person the last. A TIMER's target is the gid.
CREATE TABLE change (
    row INTEGER PRIMARY KEY,
    gid BLOB NOT NULL, target BLOB NOT NULL, identity BLOB NOT NULL, kind INTEGER NOT NULL,
    clock INTEGER NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL, -- of the envelope
    value TEXT NOT NULL,
    is_pending INTEGER NOT NULL,       -- the message is not here
    UNIQUE (gid, target, identity, kind)
) STRICT;
CREATE INDEX change_pending ON change (gid, identity, row) WHERE is_pending;

-- Messages that were here, or were hidden, and are not to come again.
CREATE TABLE gone (
    gid BLOB NOT NULL, id BLOB NOT NULL,
    PRIMARY KEY (gid, id)
) STRICT, WITHOUT ROWID;

-- What goes to relays

-- What has to reach a relay. Rows leave only when the relay has answered.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY, request BLOB NOT NULL, -- a frame with id 0
    purpose TEXT NOT NULL,             -- 'cell', 'held', 'commit', 'handed', 'create', 'file',
                                       -- 'knock', 'reply', 'ask', 'help', 'claim', 'question'
    about BLOB,                        -- the conversation; of a knock, the inviter
    due_at INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    recipient BLOB,                    -- whose bucket a cell is for
    other_request BLOB,                -- the same payload for their other bucket
    secret BLOB, payload BLOB,         -- what a cell is sealed from, if it is to be sealed anew
    skipped INTEGER NOT NULL DEFAULT 0, -- labels passed over that were said to be taken
    relay BLOB NOT NULL DEFAULT x'', other_relay BLOB
) STRICT;
CREATE INDEX outbox_relay ON outbox (relay, id);
CREATE INDEX outbox_reply ON outbox (about) WHERE purpose = 'reply';

-- What is appended again until it has evidently come: of a 'knock' `about` is its reply secret, of
-- a 'reply' the conversation, of a 'file' with a Welcome its drop. `appended_at` is when all pieces
-- of a file last left.
CREATE TABLE repeat (
    about BLOB PRIMARY KEY, kind TEXT NOT NULL,
    kept_at INTEGER NOT NULL, appended_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Its requests, as they were in the outbox.
CREATE TABLE repeat_request (
    id INTEGER PRIMARY KEY, about BLOB NOT NULL, purpose TEXT NOT NULL,
    request BLOB NOT NULL, other_request BLOB,
    relay BLOB NOT NULL DEFAULT x'', other_relay BLOB
) STRICT;
CREATE INDEX repeat_request_about ON repeat_request (about, id);

-- For whom it is, and the conversation they have not come into yet.
CREATE TABLE awaited (
    about BLOB NOT NULL, gid BLOB NOT NULL, identity BLOB NOT NULL,
    PRIMARY KEY (about, gid, identity)
) STRICT, WITHOUT ROWID;

-- What relays hold, and what they say of it

-- How far each drop was read, and the digest there.
CREATE TABLE cursor (drop_id BLOB PRIMARY KEY, seq INTEGER NOT NULL, digest BLOB NOT NULL) STRICT;

-- The digests of a drop's cells as we read them, 8 bytes each, from `first` on.
CREATE TABLE digests (
    drop_id BLOB NOT NULL, first INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (drop_id, first)
) STRICT, WITHOUT ROWID;

-- What a relay told us of somebody's bucket when it took cells of ours, and how often they know.
CREATE TABLE seen (
    identity BLOB NOT NULL, drop_id BLOB NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL,
    told INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (identity, drop_id, seq, digest)
) STRICT, WITHOUT ROWID;

-- What others were told of a drop of ours beyond where we have read it.
CREATE TABLE hearsay (
    drop_id BLOB NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (drop_id, seq, digest)
) STRICT, WITHOUT ROWID;

-- The drop of our home relay that holds what we say in a conversation: of which epoch and UTC day.
CREATE TABLE holding (
    gid BLOB PRIMARY KEY, epoch INTEGER NOT NULL, day INTEGER NOT NULL,
    secret BLOB NOT NULL, relay BLOB NOT NULL DEFAULT x''
) STRICT, WITHOUT ROWID;

-- Words that rest with their senders and wait to be fetched: `ref` is the notice (Held), `number`
-- and `state` are the epoch its sender was in.
CREATE TABLE held (
    label BLOB PRIMARY KEY, drop_id BLOB NOT NULL, gid BLOB NOT NULL, signer BLOB NOT NULL,
    number INTEGER NOT NULL, state BLOB NOT NULL, ref BLOB NOT NULL,
    told_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Up to where such drops were read, and when.
CREATE TABLE held_read (
    drop_id BLOB PRIMARY KEY, seq INTEGER NOT NULL, read_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Cells that were read there before a notice of them came.
CREATE TABLE held_early (
    label BLOB PRIMARY KEY, drop_id BLOB NOT NULL, seq INTEGER NOT NULL, read_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who holds what they say in a conversation, as they last said.
CREATE TABLE holder (
    gid BLOB NOT NULL, identity BLOB NOT NULL, PRIMARY KEY (gid, identity)
) STRICT, WITHOUT ROWID;

-- Relays, and where they are

-- Relays that gave us access.
CREATE TABLE relay (
    relay BLOB PRIMARY KEY, region TEXT NOT NULL, bucket_key BLOB NOT NULL,
    operator TEXT NOT NULL DEFAULT '',
    is_hop INTEGER NOT NULL DEFAULT 0, -- whether it hands requests to the other of our relays
    holds INTEGER NOT NULL DEFAULT 0   -- whether its operator wants what we say to rest there
) STRICT;

-- What relays have signed last of where they are (RelayAddress).
CREATE TABLE relay_at (
    relay BLOB PRIMARY KEY, signed BLOB NOT NULL, noted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Places of relays that the person has named, or at which they were found, and when.
CREATE TABLE place (
    relay BLOB NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL, tls TEXT NOT NULL,
    named_at INTEGER, found_at INTEGER,
    PRIMARY KEY (relay, host, port, tls)
) STRICT, WITHOUT ROWID;

-- The newest checkpoint a relay has signed, and the first that contradicts it: both as they came.
CREATE TABLE ledger (
    relay BLOB PRIMARY KEY, checkpoint BLOB NOT NULL, contradiction BLOB
) STRICT, WITHOUT ROWID;

-- Moves that relays have told of: the order, and the notice of its end.
CREATE TABLE relay_move (
    relay BLOB PRIMARY KEY, signed BLOB, notice BLOB
) STRICT, WITHOUT ROWID;

-- Buckets of homes we have left, which are read until everybody knows where we are now.
CREATE TABLE former (
    drop_id BLOB PRIMARY KEY, append_token BLOB NOT NULL, read_token BLOB NOT NULL,
    region TEXT NOT NULL, left_at INTEGER NOT NULL, relay BLOB NOT NULL DEFAULT x''
) STRICT, WITHOUT ROWID;

-- Who was told where we are now, by which of our envelopes, and was not seen to know it yet.
CREATE TABLE telling (
    gid BLOB NOT NULL, identity BLOB NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (gid, identity)
) STRICT, WITHOUT ROWID;
"""
"""The tables that version 0.1.0 makes."""
BASE = 32
"""The version of a vault that `SCHEMA` makes; an older one is refused."""
VERSION = BASE + len(STEPS)
"""The version of today's vaults, in `PRAGMA user_version`; a newer one is refused."""


def has_old_credential(db: sqlite3.Connection) -> bool:
    """Whether a vault was made before credentials had a generation. No step can change that,
    because the leaves in its groups hold the old credential."""
    row = db.execute(
        "SELECT 1 FROM meta WHERE key = 'credential' AND substr(value, 1, 2) = x'9401'"
    ).fetchone()
    return row is not None


def steps_from(version: int) -> list[str]:
    """The statements that upgrade a vault from a version to today's; 0 means an empty vault."""
    missing = [SCHEMA, *STEPS] if version == 0 else STEPS[version - BASE :]
    return [statement for step in missing for statement in _statements(step)]


def _statements(step: str) -> Iterator[str]:
    """The statements of a step, one by one. Each ends where SQLite says that it is complete,
    because a trigger contains statements."""
    begun = ""
    for line in step.splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            yield begun
            begun = ""
