"""The vault: a person's encrypted database, and the unit of work every change goes through.

The rule that makes a client crash-safe: MLS state, plaintext, cursors and the outbox change in one
transaction (`Vault.unit`); only after it has committed does anything go on the network, and a
retry sends the same bytes. A process that dies at any statement leaves the state before or after.
When a unit fails, what memory holds is ahead of the disk; whoever holds such memory registers a
`forget` so that it is dropped and read again.

One process per profile: two would step the same MLS ratchets and fork. A file lock keeps the
second one out.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import tempfile
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keyring
import keyring.errors
import sqlcipher3
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from amanat.client.unit import K, Memory, Reader, Unit, V
from amanat.errors import (
    AmanatError,
    BadArgument,
    BrokenAddress,
    DiskFailed,
    DiskFull,
    FileTooLarge,
    NoMemory,
    NoProfile,
    NotPermitted,
    ProfileExists,
    ProfileInUse,
    VaultDamaged,
    VaultTooNew,
    WrongPassphrase,
)
from amanat.protocol.descriptor import parse_address
from amanat.protocol.messages import envelope_hash, message_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY_BYTES = 32
SALT_BYTES = 16
ARGON2_MEMORY_KIB = 256 * 1024
"""Memory of one passphrase guess, in KiB: about 2 s a guess on one core, and dear in parallel
(RFC 9106, section 4, asks for at least 64 MiB where 2 GiB are too much)."""
MAX_ARGON2_MEMORY_KIB = 16 * ARGON2_MEMORY_KIB
"""Most that is taken for a guess: a file that asks for more is not one of ours."""
ARGON2_PASSES = 3
ARGON2_LANES = 4
KEYRING_SERVICE = "amanat"

_PROBE_BYTES = 8192
"""What is written to see whether a directory can be written to: a page or two."""
_UNLOCK_FILE = "vault.json"
_DATABASE = "vault.db"
_LOCK = "lock"

_SCHEMAS = [
    """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- The MLS engine's own state: opaque keys and values.
CREATE TABLE mls (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE contact (
    identity     BLOB PRIMARY KEY,     -- Ed25519 public key
    name         TEXT NOT NULL,
    conversation BLOB NOT NULL UNIQUE, -- group id of the 1:1 conversation
    verified     INTEGER NOT NULL DEFAULT 0,
    added_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE invite (
    secret  BLOB PRIMARY KEY,          -- one-time secret of the knock's cell
    private BLOB NOT NULL,             -- HPKE private key
    made_at INTEGER NOT NULL,
    used_at INTEGER
) STRICT;

-- Knocks of ours that were not answered yet.
CREATE TABLE knock (
    reply_secret BLOB PRIMARY KEY,     -- one-time secret of the cell that answers
    identity     BLOB NOT NULL,        -- the inviter
    name         TEXT NOT NULL,
    greeting     TEXT NOT NULL,
    made_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE conversation (
    gid        BLOB PRIMARY KEY,
    state      TEXT NOT NULL,          -- 'active', 'leaving', 'left', 'removed'
    sent_seq   INTEGER NOT NULL DEFAULT 0,
    sent_hash  BLOB NOT NULL,          -- hash of our last envelope
    clock      INTEGER NOT NULL DEFAULT 0,
    read_row   INTEGER NOT NULL DEFAULT 0, -- the last message row the person was shown
    ack_due_at INTEGER,                -- Unix ms; NULL: no receipt owed
    look_due_at INTEGER,               -- Unix ms; when to look into the epoch drop next
    sure_seq   INTEGER NOT NULL        -- seq of the own bucket up to which no later member speaks
) STRICT;

-- Pair chains, outgoing: one for each (conversation, recipient).
CREATE TABLE chain_out (
    gid BLOB NOT NULL, identity BLOB NOT NULL, chain BLOB NOT NULL,
    PRIMARY KEY (gid, identity)
) STRICT, WITHOUT ROWID;

-- Pair chains, incoming: one for each (conversation, sender device).
CREATE TABLE chain_in (
    gid BLOB NOT NULL, signer BLOB NOT NULL,
    base INTEGER NOT NULL, chain BLOB NOT NULL, highest INTEGER NOT NULL,
    received TEXT NOT NULL,            -- JSON list of positions received above base
    PRIMARY KEY (gid, signer)
) STRICT, WITHOUT ROWID;

-- How far each drop was read, and the digest there.
CREATE TABLE cursor (drop_id BLOB PRIMARY KEY, seq INTEGER NOT NULL, digest BLOB NOT NULL) STRICT;

-- Epoch drops that are still read: of the current epoch and of a few before it.
CREATE TABLE epoch_drop (
    gid BLOB NOT NULL, epoch INTEGER NOT NULL, secret BLOB NOT NULL,
    made INTEGER NOT NULL DEFAULT 0,   -- we have asked the relay to make it
    PRIMARY KEY (gid, epoch)
) STRICT, WITHOUT ROWID;

-- Pieces of a Commit whose other pieces were not read yet.
CREATE TABLE fragment (
    gid BLOB NOT NULL, epoch INTEGER NOT NULL, whole BLOB NOT NULL, idx INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (gid, epoch, whole, idx)
) STRICT, WITHOUT ROWID;

-- Messages of an epoch we have not reached.
CREATE TABLE early (id INTEGER PRIMARY KEY, gid BLOB NOT NULL, data BLOB NOT NULL) STRICT;

-- Changes of a group a person asked for that no Commit has made yet.
CREATE TABLE intent (
    id INTEGER PRIMARY KEY, gid BLOB NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL,
    due_at INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Our own Commit on its way: whether it wins is decided by the epoch drop.
CREATE TABLE attempt (
    gid BLOB PRIMARY KEY, epoch INTEGER NOT NULL, digest BLOB NOT NULL,
    welcome BLOB, tree BLOB, joiners TEXT NOT NULL -- JSON list of identities, hex
) STRICT;

-- Welcomes we were told of and have not fetched yet.
CREATE TABLE joining (
    gid BLOB PRIMARY KEY, ref BLOB NOT NULL, inviter BLOB NOT NULL, told_at INTEGER NOT NULL
) STRICT;

-- Our KeyPackages that contacts hold, and theirs that we hold.
CREATE TABLE key_package (
    ref BLOB PRIMARY KEY, identity BLOB NOT NULL, made_at INTEGER NOT NULL,
    bucket_seq INTEGER NOT NULL        -- seq up to which the own bucket had been read then
) STRICT;
CREATE TABLE their_key_package (
    ref BLOB PRIMARY KEY, identity BLOB NOT NULL, suite INTEGER NOT NULL, data BLOB NOT NULL
) STRICT;

CREATE TABLE message (
    row INTEGER PRIMARY KEY,
    gid BLOB NOT NULL, id BLOB NOT NULL, identity BLOB NOT NULL, signer BLOB NOT NULL,
    seq INTEGER NOT NULL, clock INTEGER NOT NULL,
    sent_at INTEGER NOT NULL, kept_at INTEGER NOT NULL, -- Unix ms, their clock and ours
    kind INTEGER NOT NULL, text TEXT NOT NULL
) STRICT;
CREATE INDEX message_order ON message (gid, clock, identity, seq);

-- What was heard of each device: up to `upto` without a gap, and `ahead` (JSON list) beyond it.
CREATE TABLE heard (
    gid BLOB NOT NULL, signer BLOB NOT NULL, identity BLOB NOT NULL,
    upto INTEGER NOT NULL, ahead TEXT NOT NULL,
    PRIMARY KEY (gid, signer)
) STRICT, WITHOUT ROWID;

-- What each person confirmed of our messages: everything up to `seq`.
CREATE TABLE receipt (
    gid BLOB NOT NULL, identity BLOB NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (gid, identity)
) STRICT, WITHOUT ROWID;

-- What has to reach a relay. Rows leave only when the relay has answered.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY, relay TEXT NOT NULL, request BLOB NOT NULL, -- a frame with id 0
    purpose TEXT NOT NULL,             -- 'cell', 'commit', 'create', 'file', 'knock', 'reply'
    about BLOB,                        -- the conversation; of a knock, the inviter
    due_at INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_relay ON outbox (relay, id);
CREATE INDEX outbox_reply ON outbox (about) WHERE purpose = 'reply';

-- Relays that gave us access.
CREATE TABLE relay (
    address TEXT PRIMARY KEY, region TEXT NOT NULL, bucket_key BLOB NOT NULL
) STRICT;

-- What went wrong that the person has to know of, until they have seen it.
CREATE TABLE warning (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, code TEXT NOT NULL,
    gid BLOB, detail TEXT NOT NULL) STRICT;
""",
    # 2: gaps, repair, gossip, two addresses
    """
-- Of each device we know an unbroken row of envelopes, up to `upto`; `hash` is of the last (empty:
-- not known). `told` is the highest seq that must exist. `ask_due_at` is when to ask for what is
-- missing (NULL: nothing is), `asked` how often we have.
-- `base` is where we came in: what is below may come late and is never missing.
ALTER TABLE heard DROP COLUMN ahead;
ALTER TABLE heard ADD COLUMN base INTEGER NOT NULL DEFAULT 0;
ALTER TABLE heard ADD COLUMN hash BLOB NOT NULL DEFAULT x'';
ALTER TABLE heard ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
ALTER TABLE heard ADD COLUMN ask_due_at INTEGER;
ALTER TABLE heard ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;

-- Envelopes heard beyond a gap.
CREATE TABLE ahead (
    gid BLOB NOT NULL, signer BLOB NOT NULL, seq INTEGER NOT NULL,
    previous BLOB NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY (gid, signer, seq)
) STRICT, WITHOUT ROWID;

-- Our own envelopes that not everybody has confirmed.
CREATE TABLE sent (
    gid BLOB NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL, envelope BLOB NOT NULL,
    said_at INTEGER NOT NULL,
    is_quiet INTEGER NOT NULL,         -- a receipt or a heartbeat
    PRIMARY KEY (gid, seq)
) STRICT, WITHOUT ROWID;

-- The digests of a drop's cells as we read them, 8 bytes each, from `first` on.
CREATE TABLE digests (
    drop_id BLOB NOT NULL, first INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (drop_id, first)
) STRICT, WITHOUT ROWID;

-- What a relay told us of somebody's bucket when it last took a cell of ours.
CREATE TABLE seen (
    identity BLOB NOT NULL, drop_id BLOB NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (identity, drop_id)
) STRICT, WITHOUT ROWID;

-- What others were told of a drop of ours beyond where we have read it.
CREATE TABLE claim (
    drop_id BLOB NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (drop_id, seq, digest)
) STRICT, WITHOUT ROWID;

-- The epochs we have been in, by the first 8 bytes of their authenticators.
CREATE TABLE epoch (
    gid BLOB NOT NULL, number INTEGER NOT NULL, authenticator BLOB NOT NULL,
    PRIMARY KEY (gid, number)
) STRICT, WITHOUT ROWID;

-- How many envelopes we had sent when each member came: those before are not theirs to ask for.
CREATE TABLE since (
    gid BLOB NOT NULL, signer BLOB NOT NULL, sent_seq INTEGER NOT NULL,
    PRIMARY KEY (gid, signer)
) STRICT, WITHOUT ROWID;

-- Where people have told us to reach them since they made their leaf.
CREATE TABLE moved (
    identity BLOB PRIMARY KEY, version INTEGER NOT NULL, addresses BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- When to send a heartbeat (NULL: none is due), and how many were sent since we last spoke.
ALTER TABLE conversation ADD COLUMN beat_due_at INTEGER;
ALTER TABLE conversation ADD COLUMN beats INTEGER NOT NULL DEFAULT 0;
-- When to refresh our leaf's keys, and when that was done last.
ALTER TABLE conversation ADD COLUMN refresh_due_at INTEGER;
ALTER TABLE conversation ADD COLUMN refreshed_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN is_refresh INTEGER NOT NULL DEFAULT 0;
ALTER TABLE contact ADD COLUMN blocked INTEGER NOT NULL DEFAULT 0;
-- Whose bucket a cell is for, and the same payload for their other bucket.
ALTER TABLE outbox ADD COLUMN recipient BLOB;
ALTER TABLE outbox ADD COLUMN other_relay TEXT;
ALTER TABLE outbox ADD COLUMN other_request BLOB;
""",
    # 3: what people do with messages
    """
CREATE TABLE message_3 (
    row INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: read_row may stand at one deleted
    gid BLOB NOT NULL,
    id  BLOB NOT NULL,                 -- messages.message_id
    envelope BLOB NOT NULL,            -- the envelope's own id
    identity BLOB NOT NULL, signer BLOB NOT NULL,
    seq INTEGER NOT NULL, clock INTEGER NOT NULL,
    sent_at INTEGER NOT NULL, kept_at INTEGER NOT NULL, -- Unix ms, their clock and ours
    text TEXT,                         -- NULL: deleted by its author
    reply_to BLOB,                     -- the id of what it answers
    life_s INTEGER NOT NULL DEFAULT 0, -- 0: for ever
    expires_at INTEGER,                -- Unix ms; NULL: never
    UNIQUE (gid, id)
) STRICT;
INSERT OR IGNORE INTO message_3 (row, gid, id, envelope, identity, signer, seq, clock, sent_at,
    kept_at, text)
    SELECT row, gid, message_id(identity, id), id, identity, signer, seq, clock, sent_at, kept_at,
    text FROM message ORDER BY row;
DROP TABLE message;
ALTER TABLE message_3 RENAME TO message;
CREATE INDEX message_order ON message (gid, clock, identity, seq);
CREATE INDEX message_expiry ON message (expires_at) WHERE expires_at IS NOT NULL;

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

-- Texts of blocked people that were not kept.
ALTER TABLE conversation ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;
""",
    # 4: coming back
    """
-- Contacts' lasting X25519 keys: a way to them that needs nothing but our own.
CREATE TABLE way_back (identity BLOB PRIMARY KEY, delivery BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Whose asking was answered: an answer has one label and is made once.
CREATE TABLE helped (
    nonce BLOB PRIMARY KEY, identity BLOB NOT NULL, at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Conversations (state 'astray') whose state here is not the group's, to be joined again. In epoch
-- `number` the group had this authenticator; -1: it is not a matter of that. From `digest` on: our
-- external Commit, if one is on its way.
CREATE TABLE comeback (
    gid BLOB PRIMARY KEY, number INTEGER NOT NULL, authenticator BLOB NOT NULL,
    is_restart INTEGER NOT NULL,
    ask_due_at INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    helper BLOB, nonce BLOB,
    digest BLOB, epoch INTEGER, secret BLOB, relay TEXT, region TEXT
) STRICT, WITHOUT ROWID;
""",
    # 5: Commits a relay has forgotten
    """
-- The Commit itself, to be appended again; empty in an attempt of an older program.
ALTER TABLE attempt ADD COLUMN data BLOB NOT NULL DEFAULT x'';
""",
    # 6: junk in the epoch drop of who comes back
    """
-- Up to this seq the epoch drop holds no valid Commit, as who helped has said.
ALTER TABLE comeback ADD COLUMN judged INTEGER NOT NULL DEFAULT 0;
""",
    # 7: what was taken away is not lost
    """
-- Of an envelope whose words were taken away (it is empty, and quiet, then): its place.
ALTER TABLE sent ADD COLUMN previous BLOB;
ALTER TABLE sent ADD COLUMN hash BLOB;
""",
    # 8: through a hop
    """
ALTER TABLE relay ADD COLUMN operator TEXT NOT NULL DEFAULT '';
-- Whether it hands requests to the other of our relays.
ALTER TABLE relay ADD COLUMN is_hop INTEGER NOT NULL DEFAULT 0;
""",
    # 9: who speaks and does not hear
    """
-- Somebody spoke at `sent_at` of their clock, and had not got our envelope `seq`, long since out.
CREATE TABLE unheard (
    gid BLOB NOT NULL, identity BLOB NOT NULL, seq INTEGER NOT NULL, sent_at INTEGER NOT NULL,
    PRIMARY KEY (gid, identity)
) STRICT, WITHOUT ROWID;
""",
    # 10: what a relay said is told more than once
    """
-- What a relay told us of somebody's bucket when it took cells of ours, and how often they know.
CREATE TABLE seen_10 (
    identity BLOB NOT NULL, drop_id BLOB NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL,
    told INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (identity, drop_id, seq, digest)
) STRICT, WITHOUT ROWID;
INSERT INTO seen_10 (identity, drop_id, seq, digest)
    SELECT identity, drop_id, seq, digest FROM seen;
DROP TABLE seen;
ALTER TABLE seen_10 RENAME TO seen;
""",
    # 11: the ledgers of relays
    """
-- The newest checkpoint a relay, by its key, has signed, and the first that contradicts it: both as
-- they came.
CREATE TABLE ledger (
    relay BLOB PRIMARY KEY, checkpoint BLOB NOT NULL, contradiction BLOB
) STRICT, WITHOUT ROWID;
""",
    # 12: exit
    """
-- Buckets of homes we have left, which are read until everybody knows where we are now.
CREATE TABLE former (
    drop_id BLOB PRIMARY KEY, append_token BLOB NOT NULL, read_token BLOB NOT NULL,
    relay TEXT NOT NULL, region TEXT NOT NULL, left_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who was told where we are now, by which of our envelopes, and was not seen to know it yet.
CREATE TABLE telling (
    gid BLOB NOT NULL, identity BLOB NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (gid, identity)
) STRICT, WITHOUT ROWID;

-- What a cell for somebody is sealed from, to seal it for the bucket they have moved to.
ALTER TABLE outbox ADD COLUMN secret BLOB;
ALTER TABLE outbox ADD COLUMN payload BLOB;

-- Of an open invite, and of a knock: the drop ids of ours in it, if we have left one since.
ALTER TABLE invite ADD COLUMN drops BLOB NOT NULL DEFAULT x'';
ALTER TABLE knock ADD COLUMN drops BLOB NOT NULL DEFAULT x'';

-- Where each epoch's drop rests; empty: where the policy says, which could not change before.
ALTER TABLE epoch_drop ADD COLUMN relay TEXT NOT NULL DEFAULT '';
ALTER TABLE epoch_drop ADD COLUMN region TEXT NOT NULL DEFAULT '';

-- When a message of an epoch not reached came, and which epoch its sender said they were in.
ALTER TABLE early ADD COLUMN kept_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE early ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE early ADD COLUMN authenticator BLOB NOT NULL DEFAULT x'';
""",
    # 13: moves of relays
    """
CREATE TABLE relay_move (relay TEXT PRIMARY KEY, signed BLOB, notice BLOB) STRICT, WITHOUT ROWID;
""",
    # 14: held words
    """
-- Whether the operator of an own relay wants what is said there to rest there.
ALTER TABLE relay ADD COLUMN holds INTEGER NOT NULL DEFAULT 0;

-- The drop of our home relay that holds what we say in a conversation: of which epoch and UTC day.
CREATE TABLE holding (
    gid BLOB PRIMARY KEY, relay TEXT NOT NULL, epoch INTEGER NOT NULL, day INTEGER NOT NULL,
    secret BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Words that rest with their senders and wait to be fetched: `ref` is the notice (Held), `number`
-- and `authenticator` are the epoch its sender was in.
CREATE TABLE held (
    label BLOB PRIMARY KEY, drop_id BLOB NOT NULL, gid BLOB NOT NULL, signer BLOB NOT NULL,
    number INTEGER NOT NULL, authenticator BLOB NOT NULL, ref BLOB NOT NULL,
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
""",
    # 15: invites end
    """
-- An invite has a row only while it can be answered. `expires_at` is in Unix ms; `sealed` is a
-- knock that was put aside until `answer_at`, for both have knocked at once.
DELETE FROM invite WHERE used_at IS NOT NULL;
ALTER TABLE invite DROP COLUMN used_at;
ALTER TABLE invite ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE invite ADD COLUMN sealed BLOB NOT NULL DEFAULT x'';
ALTER TABLE invite ADD COLUMN answer_at INTEGER;
UPDATE invite SET expires_at = made_at + 1209600000;

-- On which invite a knock was made, by its one-time secret, and when that expires; whether the
-- person was told that it has.
ALTER TABLE knock ADD COLUMN invite BLOB NOT NULL DEFAULT x'';
ALTER TABLE knock ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE knock ADD COLUMN is_told INTEGER NOT NULL DEFAULT 0;
UPDATE knock SET expires_at = made_at + 1209600000;
""",
    # 16: what is delivered, and what waits to be said
    """
-- The seq before the first envelope of the count we are in: what is up to it is of counts before.
ALTER TABLE conversation ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;

-- Of a text of ours: everybody it was for has confirmed it.
ALTER TABLE message ADD COLUMN is_delivered INTEGER NOT NULL DEFAULT 0;

-- From now on every envelope that is kept has its hash beside it, and one whose words were taken
-- away is empty.
UPDATE sent SET hash = envelope_hash(envelope) WHERE hash IS NULL;

-- Envelopes of ours that are said once we are in step: by their ids, without a place in our count.
CREATE TABLE waiting (
    id INTEGER PRIMARY KEY, gid BLOB NOT NULL, envelope BLOB NOT NULL, kind INTEGER NOT NULL,
    body BLOB NOT NULL, clock INTEGER NOT NULL, sent_at INTEGER NOT NULL, -- Unix ms
    UNIQUE (gid, envelope)
) STRICT;
""",
    # 17: pieces of Commits are signed
    """
-- Pieces of what is not whole yet, in the order in which they came: `place` is the drop, or a
-- conversation that is being joined again and its drop; `leaf` is their author's.
DROP TABLE fragment;
CREATE TABLE fragment (
    id INTEGER PRIMARY KEY,
    place BLOB NOT NULL, whole BLOB NOT NULL, leaf INTEGER NOT NULL, idx INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (place, whole, idx)
) STRICT;
CREATE INDEX fragment_author ON fragment (place, leaf);

-- The signature keys of an epoch's leaves.
ALTER TABLE epoch_drop ADD COLUMN signers BLOB NOT NULL DEFAULT x'';
ALTER TABLE comeback ADD COLUMN signers BLOB NOT NULL DEFAULT x'';

-- What the pieces of our Commit call it, and the indexes of those the drop has still to show.
ALTER TABLE attempt ADD COLUMN whole BLOB NOT NULL DEFAULT x'';
ALTER TABLE attempt ADD COLUMN missing BLOB NOT NULL DEFAULT x'';
ALTER TABLE comeback ADD COLUMN whole BLOB NOT NULL DEFAULT x'';
ALTER TABLE comeback ADD COLUMN missing BLOB NOT NULL DEFAULT x'';
""",
    # 18: what a relay may have forgotten
    """
-- What is appended again until it has evidently come: of a 'knock' `about` is its reply secret, of
-- a 'reply' the conversation, of a 'file' with a Welcome its drop. Times are Unix ms; `appended_at`
-- is when all pieces of a file last left.
CREATE TABLE repeat (
    about BLOB PRIMARY KEY, kind TEXT NOT NULL,
    kept_at INTEGER NOT NULL, appended_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Its requests, as they were in the outbox.
CREATE TABLE repeat_request (
    id INTEGER PRIMARY KEY, about BLOB NOT NULL, purpose TEXT NOT NULL,
    relay TEXT NOT NULL, request BLOB NOT NULL, other_relay TEXT, other_request BLOB
) STRICT;
CREATE INDEX repeat_request_about ON repeat_request (about, id);

-- For whom it is, and the conversation they have not come into yet.
CREATE TABLE awaited (
    about BLOB NOT NULL, gid BLOB NOT NULL, identity BLOB NOT NULL,
    PRIMARY KEY (about, gid, identity)
) STRICT, WITHOUT ROWID;
""",
    # 19: warnings are counted
    """
-- One of each kind about somebody (an identity, or a relay's key) in a conversation, and how
-- many there were since the person has seen them. Empty: about no one, in none.
CREATE TABLE warning_19 (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, code TEXT NOT NULL,
    gid BLOB NOT NULL, whom BLOB NOT NULL, detail TEXT NOT NULL,
    is_trust INTEGER NOT NULL,         -- these stay, however many others there are
    many INTEGER NOT NULL DEFAULT 1,
    UNIQUE (code, gid, whom)
) STRICT;
INSERT OR IGNORE INTO warning_19 (at, code, gid, whom, detail, is_trust)
    SELECT at, code, ifnull(gid, x''), x'', detail, 1 FROM warning ORDER BY id DESC;
DROP TABLE warning;
ALTER TABLE warning_19 RENAME TO warning;
""",
    # 20: claims and marks
    """
-- Claims and what is in them: ours, and whether they came back to us; and those of other copies of
-- this vault that we have read.
CREATE TABLE known_claim (
    number INTEGER PRIMARY KEY, content BLOB NOT NULL, is_read INTEGER NOT NULL
) STRICT;

-- The mark that came with the last envelope heard of each device, and how far we have told them
-- that we have heard.
ALTER TABLE heard ADD COLUMN mark BLOB NOT NULL DEFAULT x'0000000000000000';
ALTER TABLE heard ADD COLUMN told_them INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ahead ADD COLUMN mark BLOB NOT NULL DEFAULT x'0000000000000000';

-- How many labels were passed over because a relay said that they were taken.
ALTER TABLE outbox ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0;
""",
    # 21: hearsay
    """
-- What others say a device has said, beyond what it has shown itself (`told`), and until when (Unix
-- ms) it is asked for because of that.
ALTER TABLE heard ADD COLUMN hint INTEGER NOT NULL DEFAULT 0;
ALTER TABLE heard ADD COLUMN hint_until INTEGER NOT NULL DEFAULT 0;
UPDATE heard SET told = upto;

-- Runs of numbers that were given up: what comes of them after all is taken.
CREATE TABLE lost (
    gid BLOB NOT NULL, signer BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (gid, signer, first)
) STRICT, WITHOUT ROWID;
""",
    # 22: pair chains begin anew
    """
-- Pair chains, by lane (labels.Lane). `epoch` is the one of whose secret the chain begins. Of one
-- that has ended (`ended_at`, Unix ms) what was on its way is still looked for, `reach` positions
-- beyond the highest seen.
CREATE TABLE chain_out_22 (
    gid BLOB NOT NULL, identity BLOB NOT NULL, lane INTEGER NOT NULL, chain BLOB NOT NULL,
    PRIMARY KEY (gid, identity, lane)
) STRICT, WITHOUT ROWID;
INSERT INTO chain_out_22 SELECT gid, identity, 1, chain FROM chain_out;
DROP TABLE chain_out;
ALTER TABLE chain_out_22 RENAME TO chain_out;
CREATE TABLE chain_in_22 (
    gid BLOB NOT NULL, signer BLOB NOT NULL, lane INTEGER NOT NULL, epoch INTEGER NOT NULL,
    base INTEGER NOT NULL, chain BLOB NOT NULL, highest INTEGER NOT NULL,
    received TEXT NOT NULL,            -- JSON list of positions received above base
    reach INTEGER NOT NULL, ended_at INTEGER,
    PRIMARY KEY (gid, signer, lane, epoch)
) STRICT, WITHOUT ROWID;
INSERT INTO chain_in_22
    SELECT gid, signer, 1, -1, base, chain, highest, received, 128, NULL FROM chain_in;
DROP TABLE chain_in;
ALTER TABLE chain_in_22 RENAME TO chain_in;
""",
    # 23: being asked into groups
    """
-- Groups that contacts ask us into, until the person has said yes or no: as they call it, where the
-- Welcome rests, and the reference of the KeyPackage that they used.
CREATE TABLE offer (
    id INTEGER PRIMARY KEY, gid BLOB NOT NULL, inviter BLOB NOT NULL, name TEXT NOT NULL,
    ref BLOB NOT NULL, key_package BLOB NOT NULL, told_at INTEGER NOT NULL, -- Unix ms
    UNIQUE (gid, inviter)
) STRICT;

-- The nonce of the leaf of a KeyPackage of ours, which a wish to leave names.
ALTER TABLE key_package ADD COLUMN nonce BLOB NOT NULL DEFAULT x'';

-- Who has added us to a group; empty: nobody, or an older program did not say.
ALTER TABLE conversation ADD COLUMN added_by BLOB NOT NULL DEFAULT x'';
""",
    # 24: nobody's Welcome takes the place of somebody else's
    """
CREATE TABLE joining_24 (
    gid BLOB NOT NULL, ref BLOB NOT NULL, inviter BLOB NOT NULL, told_at INTEGER NOT NULL,
    PRIMARY KEY (gid, inviter)
) STRICT;
INSERT INTO joining_24 SELECT gid, ref, inviter, told_at FROM joining;
DROP TABLE joining;
ALTER TABLE joining_24 RENAME TO joining;
""",
    # 25: a device says itself where its words begin for whoever has come
    """
-- In which epoch a device came, and in how many envelopes it was told what of ours is before.
ALTER TABLE since ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE since ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
-- The epoch in which we came, as long as a device has not said how far it had counted then; 0: it
-- has, or it came later than we.
ALTER TABLE heard ADD COLUMN came INTEGER NOT NULL DEFAULT 0;
""",
    # 26: a relay is its key
    """
-- What relays have signed last of where they are (RelayAddress).
CREATE TABLE relay_at (
    relay BLOB PRIMARY KEY, signed BLOB NOT NULL, noted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Places of relays that the person has named, or at which they were found; when, in Unix ms.
CREATE TABLE place (
    relay BLOB NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL, tls TEXT NOT NULL,
    named_at INTEGER, found_at INTEGER,
    PRIMARY KEY (relay, host, port, tls)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO place
    SELECT part_of_relay(address, 'key'), part_of_relay(address, 'host'),
    part_of_relay(address, 'port'), part_of_relay(address, 'tls'), 1, NULL FROM relay;

-- Everywhere else a relay is its key.
CREATE TABLE relay_26 (
    relay BLOB PRIMARY KEY, region TEXT NOT NULL, bucket_key BLOB NOT NULL,
    operator TEXT NOT NULL DEFAULT '', is_hop INTEGER NOT NULL DEFAULT 0,
    holds INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT OR IGNORE INTO relay_26
    SELECT part_of_relay(address, 'key'), region, bucket_key, operator, is_hop, holds FROM relay;
DROP TABLE relay;
ALTER TABLE relay_26 RENAME TO relay;

CREATE TABLE relay_move_26 (
    relay BLOB PRIMARY KEY, signed BLOB, notice BLOB
) STRICT, WITHOUT ROWID;
DROP TABLE relay_move;
ALTER TABLE relay_move_26 RENAME TO relay_move;

DROP INDEX outbox_relay;
ALTER TABLE outbox ADD COLUMN relay_26 BLOB NOT NULL DEFAULT x'';
ALTER TABLE outbox ADD COLUMN other_relay_26 BLOB;
UPDATE outbox SET relay_26 = part_of_relay(relay, 'key'),
    other_relay_26 = part_of_relay(other_relay, 'key');
ALTER TABLE outbox DROP COLUMN relay;
ALTER TABLE outbox DROP COLUMN other_relay;
ALTER TABLE outbox RENAME COLUMN relay_26 TO relay;
ALTER TABLE outbox RENAME COLUMN other_relay_26 TO other_relay;
CREATE INDEX outbox_relay ON outbox (relay, id);

ALTER TABLE former ADD COLUMN relay_26 BLOB NOT NULL DEFAULT x'';
UPDATE former SET relay_26 = part_of_relay(relay, 'key');
ALTER TABLE former DROP COLUMN relay;
ALTER TABLE former RENAME COLUMN relay_26 TO relay;

ALTER TABLE epoch_drop ADD COLUMN relay_26 BLOB NOT NULL DEFAULT x'';
UPDATE epoch_drop SET relay_26 = part_of_relay(relay, 'key') WHERE relay <> '';
ALTER TABLE epoch_drop DROP COLUMN relay;
ALTER TABLE epoch_drop RENAME COLUMN relay_26 TO relay;

ALTER TABLE comeback ADD COLUMN relay_26 BLOB;
UPDATE comeback SET relay_26 = part_of_relay(relay, 'key');
ALTER TABLE comeback DROP COLUMN relay;
ALTER TABLE comeback RENAME COLUMN relay_26 TO relay;

ALTER TABLE holding ADD COLUMN relay_26 BLOB NOT NULL DEFAULT x'';
UPDATE holding SET relay_26 = part_of_relay(relay, 'key');
ALTER TABLE holding DROP COLUMN relay;
ALTER TABLE holding RENAME COLUMN relay_26 TO relay;

ALTER TABLE repeat_request ADD COLUMN relay_26 BLOB NOT NULL DEFAULT x'';
ALTER TABLE repeat_request ADD COLUMN other_relay_26 BLOB;
UPDATE repeat_request SET relay_26 = part_of_relay(relay, 'key'),
    other_relay_26 = part_of_relay(other_relay, 'key');
ALTER TABLE repeat_request DROP COLUMN relay;
ALTER TABLE repeat_request DROP COLUMN other_relay;
ALTER TABLE repeat_request RENAME COLUMN relay_26 TO relay;
ALTER TABLE repeat_request RENAME COLUMN other_relay_26 TO other_relay;

-- Older records name relays by a text: whoever sent them says it again.
DELETE FROM moved;
DELETE FROM joining;
DELETE FROM offer;
DELETE FROM held;
UPDATE meta SET value = part_of_relay(CAST(value AS TEXT), 'key')
    WHERE key IN ('home', 'fallback') OR (key = 'hop' AND value NOT IN (x'6175746F', x'6F6666'));
    """,
    # 27: lineages and branches
    """
-- The epochs we have been in, by the first 8 bytes of their states, and since when, in Unix ms.
-- (What was kept of them before cannot be compared with these.)
DELETE FROM epoch;
ALTER TABLE epoch RENAME COLUMN authenticator TO state;
ALTER TABLE epoch ADD COLUMN entered_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE held RENAME COLUMN authenticator TO state;
ALTER TABLE early DROP COLUMN authenticator;
ALTER TABLE early DROP COLUMN number;

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
CREATE TABLE refused (gid BLOB PRIMARY KEY, digest BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Help that does not show how the group came there.
CREATE TABLE unproven (
    gid BLOB NOT NULL, helper BLOB NOT NULL, help BLOB NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (gid, helper)
) STRICT;

-- Conversations about which contacts are asked: whether our keys have been used by another copy of
-- the vault; of a mere claim, who has made it, in which epoch they say to be, and how often
-- somebody is asked still. `asked` are those who were; `ref` is a file of help to be fetched. From
-- `digest` on: our external Commit, if one is on its way, the help it was made from, where it goes.
CREATE TABLE comeback_27 (
    gid BLOB PRIMARY KEY, is_lost INTEGER NOT NULL, is_restart INTEGER NOT NULL,
    whom BLOB, number INTEGER, state BLOB, asks_left INTEGER,
    ask_due_at INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    asked BLOB NOT NULL DEFAULT x'',
    helper BLOB, nonce BLOB, ref BLOB, told_at INTEGER,
    digest BLOB, commit_data BLOB, help BLOB, epoch INTEGER, secret BLOB, relay BLOB, region TEXT,
    judged INTEGER, signers BLOB, whole BLOB, missing BLOB
) STRICT;
INSERT INTO comeback_27 (gid, is_lost, is_restart, ask_due_at)
    SELECT gid, 1, is_restart, ask_due_at FROM comeback;
DROP TABLE comeback;
ALTER TABLE comeback_27 RENAME TO comeback;
""",
]
"""The steps that make the schema: a new vault takes all, an older one those it lacks."""
VERSION = len(_SCHEMAS)
"""The vault's schema version; a newer one is refused, an older one is upgraded."""


class Unlock(NamedTuple):
    """How a vault's key is had: exactly one of a passphrase, the system keyring, or the key itself.

    `key` is for programs that keep the 32-byte key elsewhere.
    """

    passphrase: str | None = None
    keyring: bool = False
    key: bytes | None = None


class Vault:
    """An open vault, locked against other processes. `read` looks into it; only a `unit` writes."""

    def __init__(self, db: sqlite3.Connection, lock: int, directory: Path) -> None:
        self._db = db
        self.read = Reader(db)
        self.directory = directory
        self._lock = lock
        self._forget: list[Callable[[], None]] = []
        self._before_commit: list[Callable[[Unit], None]] = []
        self._after_commit: list[Callable[[], None]] = []

    def bind(
        self,
        *,
        before_commit: Callable[[Unit], None] | None = None,
        after_commit: Callable[[], None] | None = None,
        forget: Callable[[], None] | None = None,
    ) -> None:
        """Keep somebody's memory in step with the vault: `before_commit` writes its changes with
        the unit, `after_commit` hears that they are durable, `forget` that they are not."""
        if before_commit is not None:
            self._before_commit.append(before_commit)
        if after_commit is not None:
            self._after_commit.append(after_commit)
        if forget is not None:
            self._forget.append(forget)

    def memory(self) -> Memory[K, V]:
        """A dict beside the vault, in which a unit that fails has changed nothing."""
        made: Memory[K, V] = Memory()
        self.bind(after_commit=made.settle, forget=made.undo)
        return made

    @contextlib.contextmanager
    def unit(self, *, now: int) -> Iterator[Unit]:
        """One unit of work at a time in Unix milliseconds: everything inside is durable when it
        ends, or nothing is.

        Raises DiskFull when nothing can be written; the state is then the one before.
        """
        unit = Unit(self._db, now=now)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield unit
            for write in self._before_commit:
                write(unit)
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlcipher3.Error):
                self._db.execute("ROLLBACK")
            for forget in self._forget:
                forget()
            with naming_faults(self.directory):
                raise
        finally:
            unit.end()
        for told in self._after_commit:
            told()

    def get(self, key: str) -> bytes:
        """The value of a key of `meta`. KeyError if there is none."""
        row = self.read.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return bytes(row[0])

    def scrub(self) -> bool:
        """Empty the write-ahead log, which holds pages as they were before something was deleted;
        whether it is empty now. Outside a unit."""
        try:
            (is_busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlcipher3.OperationalError:
            return False
        return not is_busy

    @property
    def place(self) -> bytes:
        """Where the database's file is on this machine: a copy of it is elsewhere."""
        found = (self.directory / _DATABASE).stat()
        return f"{found.st_dev} {found.st_ino}".encode()

    def damage(self) -> str:
        """What is damaged in the database's pages, in SQLite's words; empty if nothing is."""
        try:
            found = [str(row[0]) for row in self._db.execute("PRAGMA cipher_integrity_check")]
            found += [str(r[0]) for r in self._db.execute("PRAGMA integrity_check") if r[0] != "ok"]
        except sqlcipher3.DatabaseError as error:
            found = [str(error)]
        return "; ".join(found)

    def close(self) -> None:
        """Close the database and let other processes in."""
        with contextlib.suppress(sqlcipher3.Error):
            self.scrub()  # keys were deleted since
        self._db.close()
        os.close(self._lock)


@contextlib.contextmanager
def naming_faults(directory: Path, *, is_opening: bool = False) -> Iterator[None]:
    """Raises VaultDamaged where the database of `directory` turns out to be broken, and by its name
    what else of the machine keeps it from being read or written.

    What only a mistake of ours can be passes as it is; while a vault `is_opening`, it cannot be
    one: the database is none of ours then.
    """
    try:
        yield
    except sqlcipher3.DatabaseError as error:
        named = _named(error, directory)
        if named is None and is_opening:
            named = VaultDamaged(f"{directory}: {error}")
        if named is None:
            raise
        raise named from None
    except OSError as error:
        kind = _KINDS.get(error.errno or 0)
        if kind is None:
            raise
        raise kind(f"{error.filename or directory}: {error.strerror}") from None


_KINDS: dict[int, type[AmanatError]] = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EFBIG: FileTooLarge,
    errno.EIO: DiskFailed,
    errno.EROFS: NotPermitted,
    errno.EACCES: NotPermitted,
    errno.EPERM: NotPermitted,
    errno.ENOMEM: NoMemory,
}
"""What the system says of a file."""


def _named(error: sqlite3.DatabaseError, directory: Path) -> AmanatError | None:
    """What SQLite says of the database of `directory`, by its primary result code; None where it
    can only be a mistake of ours."""
    name = getattr(error, "sqlite_errorname", "")  # an error of the module itself has none
    found = f"{directory}: {name}"
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return VaultDamaged(f"{directory}: {error}")
        case sqlite3.SQLITE_FULL:
            return DiskFull(found)
        case sqlite3.SQLITE_IOERR:
            return _refusal(directory, DiskFailed)(found)
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return _refusal(directory, NotPermitted)(found)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return ProfileInUse(found)
        case sqlite3.SQLITE_NOMEM:
            return NoMemory(found)
    return None


def _refusal(directory: Path, otherwise: type[AmanatError]) -> type[AmanatError]:
    """Why SQLite could not write into a directory, by trying to write there: its result codes do
    not tell a full disk, a limit and a broken disk apart wherever they meet them."""
    try:
        largest = max(path.stat().st_size for path in directory.iterdir())
        with tempfile.TemporaryFile(dir=directory) as file:
            os.truncate(file.fileno(), largest + _PROBE_BYTES)
            os.pwrite(file.fileno(), bytes(_PROBE_BYTES), largest)
            os.fsync(file.fileno())
    except OSError as error:
        return _KINDS.get(error.errno or 0, otherwise)
    except ValueError:  # nothing is in it
        return otherwise
    return otherwise


def create(
    directory: Path, unlock: Unlock, fill: Callable[[Unit, Vault], None], *, now: int
) -> None:
    """Make a new profile in `directory`; `fill` writes its first rows, in one unit of work.

    The database is built beside its place and renamed, so a profile is whole or not there. Raises
    ProfileExists, or what `naming_faults` does.
    """
    with naming_faults(directory, is_opening=True):
        _create(directory, unlock, fill, now=now)


def _create(
    directory: Path, unlock: Unlock, fill: Callable[[Unit, Vault], None], *, now: int
) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_private(directory)
    lock = _take_lock(directory)
    try:
        if (directory / _DATABASE).exists():
            raise ProfileExists(str(directory))
        key, settings = _new_key(unlock)
        draft = directory / (_DATABASE + ".new")
        for leftover in directory.glob(_DATABASE + ".new*"):
            leftover.unlink()
        db = _connect(draft, key)
        vault = Vault(db, -1, directory)
        try:
            with vault.unit(now=now) as unit:
                _upgrade(db, 0)
                fill(unit, vault)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            db.close()
        _write_durably(directory / _UNLOCK_FILE, json.dumps(settings, indent=2).encode() + b"\n")
        draft.rename(directory / _DATABASE)
        _sync_directory(directory)
    finally:
        os.close(lock)


def open_vault(directory: Path, unlock: Unlock) -> Vault:
    """The vault of the profile in `directory`.

    Raises NoProfile, ProfileInUse, WrongPassphrase, VaultTooNew, VaultDamaged, or what else
    `naming_faults` does; nothing is changed then.
    """
    if not (directory / _DATABASE).exists():
        raise NoProfile(str(directory))
    with naming_faults(directory, is_opening=True), contextlib.ExitStack() as opened:
        _make_private(directory)
        lock = _take_lock(directory)
        opened.callback(os.close, lock)
        key = _known_key(directory, unlock)
        db = _connect(directory / _DATABASE, key)
        opened.callback(db.close)
        version = _read_version(db, directory)
        if version > VERSION:
            raise VaultTooNew(f"version {version}; this program knows {VERSION}")
        if version < VERSION:
            db.execute("BEGIN IMMEDIATE")  # undone by closing, if it fails
            _upgrade(db, version)
            db.execute("COMMIT")
        opened.pop_all()
    return Vault(db, lock, directory)


def needs_passphrase(directory: Path) -> bool:
    """Whether the profile opens with a passphrase. Raises NoProfile or VaultDamaged."""
    return bool(_settings(directory)["unlock"] == "passphrase")


def _read_version(db: sqlite3.Connection, directory: Path) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version == 0:
        raise VaultDamaged(str(directory))
    return version


def _upgrade(db: sqlite3.Connection, version: int) -> None:
    """Bring the schema from a version to ours; inside a transaction."""
    db.create_function("message_id", 2, message_id, deterministic=True)
    db.create_function("envelope_hash", 1, envelope_hash, deterministic=True)
    db.create_function("part_of_relay", 2, _part_of_relay, deterministic=True)
    for schema in _SCHEMAS[version:]:
        for statement in schema.split(";\n"):
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {VERSION}")


def _make_private(directory: Path) -> None:
    """Have a profile's directory be its owner's alone (threat model, T10.3), however it was made.

    Raises BadArgument for one that is open to others and holds more than a profile: whose that is
    we do not know.
    """
    if not directory.stat().st_mode & 0o077:
        return
    for path in directory.iterdir():
        if path.name not in (_LOCK, "run.sock") and not path.name.startswith("vault."):
            raise BadArgument(
                f"{directory} is open to others and holds {path.name}, which is no profile's:"
                " give a directory of its own, or take others' rights to it away"
            )
    directory.chmod(0o700)


def _part_of_relay(address: str | None, part: str) -> bytes | str | int | None:
    """The key, or a part of the place, of a relay address as older vaults hold it."""
    if address is None:
        return None
    try:
        found = parse_address(address)
    except BrokenAddress:
        return b"" if part == "key" else ""
    if part == "key":
        return found.key
    value: str | int = getattr(found.places[0], part)
    return value


def _take_lock(directory: Path) -> int:
    handle = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ProfileInUse(str(directory)) from None
    return handle


def _connect(path: Path, key: bytes) -> sqlite3.Connection:
    db: sqlite3.Connection = sqlcipher3.connect(str(path), isolation_level=None)
    try:
        path.chmod(0o600)
        # A raw key: Argon2id has done its work, so SQLCipher's own PBKDF2 is left out.
        db.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        db.close()
        raise
    return db


def _prepared(passphrase: str) -> bytes:
    """A passphrase as it is used, however a keyboard has put its letters together: every space is
    the same, and the form is NFC, in UTF-8 (RFC 8265, OpaqueString: section 4.2.1).

    Characters that the profile disallows are taken: which those are changes with Unicode's
    versions, and a vault that opened has to open again. Raises BadArgument if there is nothing.
    """
    if not passphrase:
        raise BadArgument("an empty passphrase protects nothing")
    spaced = "".join(" " if unicodedata.category(one) == "Zs" else one for one in passphrase)
    try:
        return unicodedata.normalize("NFC", spaced).encode()
    except UnicodeEncodeError:
        raise BadArgument("the passphrase is not UTF-8 text") from None


def _argon2(passphrase: bytes, salt: bytes, settings: dict[str, int]) -> bytes:
    """RFC 9106."""
    if settings["memory_kib"] > MAX_ARGON2_MEMORY_KIB:
        raise ValueError
    return Argon2id(
        salt=salt,
        length=KEY_BYTES,
        iterations=settings["passes"],
        lanes=settings["lanes"],
        memory_cost=settings["memory_kib"],
    ).derive(passphrase)


def _check(key: bytes) -> str:
    """Tells a wrong key from a damaged database; no easier to guess against than the database."""
    return hmac.digest(key, b"amanat vault check", "sha256")[:8].hex()


def _new_key(unlock: Unlock) -> tuple[bytes, dict[str, Any]]:
    if [unlock.passphrase is not None, unlock.keyring, unlock.key is not None].count(True) != 1:
        raise BadArgument("exactly one of passphrase, keyring and key")
    settings: dict[str, Any] = {"version": 1}
    if unlock.passphrase is not None:
        salt = secrets.token_bytes(SALT_BYTES)
        cost = {"memory_kib": ARGON2_MEMORY_KIB, "passes": ARGON2_PASSES, "lanes": ARGON2_LANES}
        key = _argon2(_prepared(unlock.passphrase), salt, cost)
        settings |= {"unlock": "passphrase", "salt": salt.hex(), "argon2id": cost}
    elif unlock.keyring:
        key = secrets.token_bytes(KEY_BYTES)
        entry = secrets.token_hex(8)
        _keyring(lambda: keyring.set_password(KEYRING_SERVICE, entry, key.hex()))
        settings |= {"unlock": "keyring", "entry": entry}
    else:
        key = unlock.key or b""
        if len(key) != KEY_BYTES:
            raise BadArgument(f"a vault key has {KEY_BYTES} bytes")
        settings |= {"unlock": "key"}
    return key, settings | {"check": _check(key)}


def _known_key(directory: Path, unlock: Unlock) -> bytes:
    settings = _settings(directory)
    try:
        if settings["unlock"] == "passphrase":
            if not unlock.passphrase:
                raise WrongPassphrase("this profile opens with a passphrase")
            passphrase, salt = _prepared(unlock.passphrase), bytes.fromhex(settings["salt"])
            key = _argon2(passphrase, salt, settings["argon2id"])
        elif settings["unlock"] == "keyring":
            entry = settings["entry"]
            stored = _keyring(lambda: keyring.get_password(KEYRING_SERVICE, entry))
            if stored is None:
                raise WrongPassphrase("the system keyring does not hold this profile's key")
            key = bytes.fromhex(stored)
        else:
            key = unlock.key or b""
        is_right = hmac.compare_digest(_check(key), settings["check"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise VaultDamaged(str(directory / _UNLOCK_FILE)) from None
    except MemoryError:
        raise NoMemory(str(directory)) from None
    if not is_right:
        raise WrongPassphrase
    return key


def _settings(directory: Path) -> dict[str, Any]:
    try:
        settings = json.loads((directory / _UNLOCK_FILE).read_bytes())
    except FileNotFoundError:
        raise NoProfile(str(directory)) from None
    except ValueError:
        raise VaultDamaged(str(directory / _UNLOCK_FILE)) from None
    if not isinstance(settings, dict) or "unlock" not in settings:
        raise VaultDamaged(str(directory / _UNLOCK_FILE))
    if settings.get("version") != 1:  # written by a newer program
        raise VaultTooNew(str(directory / _UNLOCK_FILE))
    return settings


def _keyring(call: Callable[[], Any]) -> Any:  # noqa: ANN401  # what keyring gives
    try:
        return call()
    except keyring.errors.KeyringError as error:
        raise BadArgument(f"the system keyring does not work here: {error}") from None


def _write_durably(path: Path, data: bytes) -> None:
    draft = path.with_suffix(".new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)
    draft.rename(path)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fingerprint(data: bytes) -> str:
    """A short name for an id where a person may have to type it: 8 hex digits."""
    return hashlib.sha256(data).hexdigest()[:8]
