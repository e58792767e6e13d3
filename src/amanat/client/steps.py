"""The steps that upgrade a vault, each from one version to the next (schema.py).

A step that was released stays as it is.
"""

from __future__ import annotations

STEPS: tuple[str, ...] = (
    """
-- A conversation that we have left and whose texts the person has deleted: shown nowhere. Its row
-- stays, so that no number is used twice if we are let in again.
ALTER TABLE desk ADD COLUMN is_hidden INTEGER NOT NULL DEFAULT 0;

-- People whom the person had blocked and who are no contacts any more: we keep nothing that they
-- say in groups.
CREATE TABLE shut_out (identity BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
""",
    """
-- What each person says they have read of our messages: everything up to `seq`.
CREATE TABLE read_by (
    gid BLOB NOT NULL, identity BLOB NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (gid, identity)
) STRICT, WITHOUT ROWID;

-- How far we have told them that we have read.
ALTER TABLE heard ADD COLUMN told_read INTEGER NOT NULL DEFAULT 0;
""",
    """
-- Whose vault this is. Their identity always stands at this place of a credential.
CREATE VIEW me AS SELECT substr(value, 5, 32) AS identity FROM meta WHERE key = 'credential';

-- How many texts of others a conversation holds since its read mark. Triggers keep this count: a
-- list of all conversations would otherwise count up to a thousand rows of each.
ALTER TABLE tally ADD COLUMN unread INTEGER NOT NULL DEFAULT 0;
INSERT OR IGNORE INTO tally (gid, held) SELECT gid, 0 FROM conversation;
UPDATE tally SET unread = (
    SELECT count(*) FROM conversation AS c JOIN message AS m ON m.gid = c.gid AND m.row > c.read_row
    WHERE c.gid = tally.gid AND m.identity != (SELECT identity FROM me)
);

DROP TRIGGER message_came;
DROP TRIGGER message_went;
DROP TRIGGER message_moved;
CREATE TRIGGER message_came AFTER INSERT ON message BEGIN
    INSERT OR IGNORE INTO tally (gid, held) VALUES (new.gid, 0);
    UPDATE tally SET held = held + 1, unread = unread + coalesce(
        new.row > (SELECT read_row FROM conversation WHERE gid = new.gid)
        AND new.identity != (SELECT identity FROM me), 0
    ) WHERE gid = new.gid;
END;
CREATE TRIGGER message_went AFTER DELETE ON message BEGIN
    UPDATE tally SET held = held - 1, unread = unread - coalesce(
        old.row > (SELECT read_row FROM conversation WHERE gid = old.gid)
        AND old.identity != (SELECT identity FROM me), 0
    ) WHERE gid = old.gid;
END;
CREATE TRIGGER message_moved AFTER UPDATE OF gid ON message BEGIN
    INSERT OR IGNORE INTO tally (gid, held) VALUES (new.gid, 0);
    UPDATE tally SET held = held - 1, unread = unread - coalesce(
        old.row > (SELECT read_row FROM conversation WHERE gid = old.gid)
        AND old.identity != (SELECT identity FROM me), 0
    ) WHERE gid = old.gid;
    UPDATE tally SET held = held + 1, unread = unread + coalesce(
        new.row > (SELECT read_row FROM conversation WHERE gid = new.gid)
        AND new.identity != (SELECT identity FROM me), 0
    ) WHERE gid = new.gid;
END;
CREATE TRIGGER conversation_came AFTER INSERT ON conversation BEGIN
    INSERT OR IGNORE INTO tally (gid, held) VALUES (new.gid, 0);
    UPDATE tally SET unread = (
        SELECT count(*) FROM message WHERE gid = new.gid AND row > new.read_row
        AND identity != (SELECT identity FROM me)
    ) WHERE gid = new.gid;
END;
CREATE TRIGGER conversation_read AFTER UPDATE OF read_row ON conversation BEGIN
    UPDATE tally SET unread = unread - (
        SELECT count(*) FROM message WHERE gid = new.gid AND row > old.read_row
        AND row <= new.read_row AND identity != (SELECT identity FROM me)
    ) + (
        SELECT count(*) FROM message WHERE gid = new.gid AND row > new.read_row
        AND row <= old.read_row AND identity != (SELECT identity FROM me)
    ) WHERE gid = new.gid;
END;
""",
    """
-- People who have knocked on an invite of ours and wait for the person's answer: the id of that
-- invite, their knock (messages.Knock), and until when they wait.
CREATE TABLE visitor (
    id INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE, invite TEXT NOT NULL,
    knock BLOB NOT NULL, knocked_at INTEGER NOT NULL, until INTEGER NOT NULL
) STRICT;
""",
    """
-- Encrypted files beside the vault, by the names of those files; the key goes first when one ends.
CREATE TABLE blob (
    id BLOB PRIMARY KEY, key BLOB NOT NULL,
    size INTEGER NOT NULL,             -- bytes of the content
    is_own INTEGER NOT NULL,           -- the person has sent it
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- Those whose files are still to be removed.
CREATE TABLE blob_gone (id BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TRIGGER blob_went AFTER DELETE ON blob BEGIN
    INSERT OR IGNORE INTO blob_gone VALUES (old.id);
END;

-- The files of messages, by the messages' ids.
CREATE TABLE file (
    gid BLOB NOT NULL, id BLOB NOT NULL,
    body BLOB NOT NULL,                -- as it was said last (messages.File)
    is_near INTEGER NOT NULL,          -- its relay was then one at which its sender is reached
    blob BLOB,                         -- NULL: not all of it is here
    again_at INTEGER NOT NULL DEFAULT 0, -- when we last put it up because somebody had asked
    PRIMARY KEY (gid, id)
) STRICT, WITHOUT ROWID;

-- Files on their way to a relay or from one: one row for each.
CREATE TABLE transfer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    gid BLOB NOT NULL,
    message BLOB,                      -- NULL: it is no message before it is at the relay
    is_up INTEGER NOT NULL,
    body BLOB NOT NULL,                -- messages.File
    owner BLOB NOT NULL,               -- what derives the append token; empty on the way from it
    blob BLOB NOT NULL,
    done BLOB NOT NULL,                -- a bit for each cell
    relay BLOB NOT NULL,               -- to which, or from which, it goes
    phase TEXT NOT NULL,               -- transfers.Phase
    error TEXT NOT NULL DEFAULT '',    -- the code of the error that it failed with
    began_at INTEGER,                  -- when the relay took the first cell
    tries INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER NOT NULL
) STRICT;
CREATE INDEX transfer_message ON transfer (gid, message);

CREATE TRIGGER message_lost_file AFTER DELETE ON message BEGIN
    DELETE FROM file WHERE gid = old.gid AND id = old.id;
END;
CREATE TRIGGER message_erased_file AFTER UPDATE OF text ON message WHEN new.text IS NULL BEGIN
    DELETE FROM file WHERE gid = new.gid AND id = new.id;
END;
CREATE TRIGGER message_moved_file AFTER UPDATE OF gid ON message BEGIN
    UPDATE file SET gid = new.gid WHERE gid = old.gid AND id = old.id;
    UPDATE transfer SET gid = new.gid WHERE gid = old.gid AND message = old.id;
END;
CREATE TRIGGER file_went AFTER DELETE ON file BEGIN
    DELETE FROM transfer WHERE gid = old.gid AND message = old.id;
    DELETE FROM blob WHERE id = old.blob AND NOT EXISTS (SELECT 1 FROM file WHERE blob = old.blob)
        AND NOT EXISTS (SELECT 1 FROM transfer WHERE blob = old.blob);
END;
CREATE TRIGGER transfer_went AFTER DELETE ON transfer BEGIN
    DELETE FROM blob WHERE id = old.blob AND NOT EXISTS (SELECT 1 FROM file WHERE blob = old.blob)
        AND NOT EXISTS (SELECT 1 FROM transfer WHERE blob = old.blob);
END;
""",
    """
-- Whether the person has played it: a voice note that they were sent.
ALTER TABLE file ADD COLUMN is_played INTEGER NOT NULL DEFAULT 0;
""",
    """
-- Chats of other messengers, from what these have exported. Nobody has signed them, and they are no
-- conversations: nothing in them is sent, counted, confirmed or verified.
CREATE TABLE imported_chat (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    app TEXT NOT NULL, key TEXT NOT NULL, -- whose export, and the chat's name there (records.Chat)
    title TEXT NOT NULL, kind TEXT NOT NULL,
    me TEXT NOT NULL DEFAULT '',       -- the author who is the person; empty: not known
    is_over INTEGER NOT NULL DEFAULT 0, -- it became another chat
    before TEXT NOT NULL DEFAULT '',   -- the title of the chat that became this one
    imported_at INTEGER NOT NULL,
    UNIQUE (app, key)
) STRICT;
CREATE TABLE imported_message (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    chat INTEGER NOT NULL, number INTEGER NOT NULL, place INTEGER NOT NULL,
    author TEXT NOT NULL, name TEXT NOT NULL,
    at INTEGER NOT NULL, edited_at INTEGER,
    text TEXT NOT NULL, marks TEXT NOT NULL,
    kind TEXT NOT NULL, extra TEXT NOT NULL,
    reply_to INTEGER, forwarded_from TEXT NOT NULL, topic INTEGER, file TEXT NOT NULL,
    UNIQUE (chat, number)
) STRICT;
CREATE INDEX imported_order ON imported_message (chat, place, row);

-- Imports under way: the version of the file, and how many of its records are taken.
CREATE TABLE import_run (
    file TEXT PRIMARY KEY, version TEXT NOT NULL, done INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The words of imported messages, as `said` has those of messages.
CREATE VIRTUAL TABLE imported_said
    USING fts5 (words, content = '', tokenize = 'ascii', detail = 'column', columnsize = 0);
INSERT INTO imported_said (imported_said, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER imported_came AFTER INSERT ON imported_message BEGIN
    INSERT INTO imported_said (rowid, words) VALUES (new.row, fold(new.text || ' ' || new.extra));
END;
CREATE TRIGGER imported_went AFTER DELETE ON imported_message BEGIN
    INSERT INTO imported_said (imported_said, rowid, words)
        VALUES ('delete', old.row, fold(old.text || ' ' || old.extra));
END;
""",
    """
-- The highest generation of a person's devices that we have seen, if it is not the first.
CREATE TABLE newest (
    identity BLOB PRIMARY KEY, generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
""",
    """
-- Groups of a restored profile as they were last known, until the engine has them again: what every
-- member knows of a group without any of its secrets.
CREATE TABLE recalled (
    gid BLOB PRIMARY KEY, suite INTEGER NOT NULL, epoch INTEGER NOT NULL, state BLOB NOT NULL,
    policy BLOB NOT NULL,
    members BLOB NOT NULL              -- recalled.Leaves
) STRICT, WITHOUT ROWID;
""",
    """
-- The blob of a file's outline, which has its preview, while not all of the file is here.
ALTER TABLE file ADD COLUMN outline BLOB;
-- Whether the client fetches only the outline of its file.
ALTER TABLE transfer ADD COLUMN is_outline INTEGER NOT NULL DEFAULT 0;
DROP TRIGGER file_went;
CREATE TRIGGER file_went AFTER DELETE ON file BEGIN
    DELETE FROM transfer WHERE gid = old.gid AND message = old.id;
    DELETE FROM blob WHERE id = old.blob AND NOT EXISTS (SELECT 1 FROM file WHERE blob = old.blob)
        AND NOT EXISTS (SELECT 1 FROM transfer WHERE blob = old.blob);
    DELETE FROM blob WHERE id = old.outline;
END;
DROP TRIGGER transfer_went;
CREATE TRIGGER transfer_went AFTER DELETE ON transfer BEGIN
    DELETE FROM blob WHERE id = old.blob AND NOT EXISTS (SELECT 1 FROM file WHERE blob = old.blob)
        AND NOT EXISTS (SELECT 1 FROM file WHERE outline = old.blob)
        AND NOT EXISTS (SELECT 1 FROM transfer WHERE blob = old.blob);
END;
""",
    """
-- The texts that may hold a link.
CREATE INDEX message_link ON message (gid, clock, identity, seq, id) WHERE instr(text, '://') > 0;
""",
)
"""The statements that upgrade a vault of version `BASE` to the next version, and so on."""
