"""Planted bugs: each is put into a copy of the program, and a test must fail because of it.

    python tests/mutants.py [--only NAME] [--json]

A bug that no test notices (`survived`) means that a test is missing. A bug that keeps the tests
from ending counts as noticed. The tree itself is not touched: everything runs in a copy in a
temporary directory, with the same compiled binding. The exit status is 1 if a bug survived, 2 if
the tests fail without any bug.
"""
# ruff: noqa: E501  # lines of the program stand here as they are there

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).parent.parent
PYTEST = (sys.executable, "-m", "pytest", "-xq", "-p", "no:cacheprovider", "--timeout", "120")
"""The command for pytest; the time limit is for one test, in seconds: a bug that makes a test last
longer is also noticed."""
BUG_S = 600
"""Most seconds that the tests of one bug may take together. A bug that keeps them from ending is
caught, even if it also blocks their own time limits (code that is not Python can do so)."""
ALL_S = 3600
"""Most seconds that the tests of all bugs may take without any bug."""


class Mutant(NamedTuple):
    """A bug: `old`, which stands once in the whole package, becomes `new`. It names no file, so
    that code can move."""

    name: str
    old: str
    new: str
    tests: list[str]
    """The tests that must fail, as pytest names them below tests/."""


class BrokenMutant(Exception):  # noqa: N818  # what happened, as all our errors
    """A bug cannot be planted, or the tests cannot even be begun with it."""


MUTANTS = [
    Mutant(
        "all of a conversation is read to find its links",
        """        which = "instr(m.text, '://') > 0"  # as the index has it""",
        """        which = "m.text LIKE '%://%'\"""",
        ["test_transcript.py::test_no_message_without_a_link_is_read_to_find_the_links"],
    ),
    Mutant(
        "outlines of a large group are fetched at once",
        "            (unit.now + secrets.randbelow(OUTLINE_MS), number),",
        "            (unit.now, number),",
        ["test_outlines.py::test_an_outline_is_due_at_any_time_in_a_minute_and_never_later"],
    ),
    Mutant(
        "a start makes every outline due at once",
        'min(due_at, ? + ? * is_outline)", (unit.now, OUTLINE_MS)',
        'min(due_at, ? + ? * 0)", (unit.now, OUTLINE_MS)',
        ["test_outlines.py::test_an_outline_is_due_at_any_time_in_a_minute_and_never_later"],
    ),
    Mutant(
        "all of a file comes where only its outline is due",
        "return self.is_whole or (self._is_outline and self.known.outline is not None)",
        "return self.is_whole",
        [
            "test_outlines.py::test_of_a_file_in_a_large_group_one_cell_comes_within_a_minute_and_the_rest_if_wanted"
        ],
    ),
    Mutant(
        "an outline is looked for in all of its drop",
        "        self._most = OUTLINE_PLACES if is_outline else file.cells + MAX_JUNK",
        "        self._most = file.cells + MAX_JUNK",
        ["test_outlines.py::test_however_a_relay_answers_no_more_than_the_outline_is_taken"],
    ),
    Mutant(
        "an outline is fetched again with the rest of its file",
        "        name = None if 0 in done else self._sharing.outline(one)",
        "        name = None",
        [
            "test_outlines.py::test_of_a_file_in_a_large_group_one_cell_comes_within_a_minute_and_the_rest_if_wanted"
        ],
    ),
    Mutant(
        "an outline comes of somebody blocked since it was announced",
        '" ON c.identity = m.identity WHERE gid = ? AND id = ? AND NOT c.blocked"',
        '" ON c.identity = m.identity WHERE gid = ? AND id = ?"',
        ["test_outlines.py::test_an_outline_does_not_come_once_its_sender_or_message_is_gone"],
    ),
    Mutant(
        "an outline that is due is fetched whatever the person wants by then",
        "        return not transfer.is_outline or (\n            message is not None",
        "        return True or (\n            message is not None",
        ["test_outlines.py::test_nothing_comes_by_itself_that_the_person_does_not_want"],
    ),
    Mutant(
        "outlines come although nothing is to be fetched by itself",
        "self._is_wanted(gid, message, min(file.size, CHUNK_BYTES))",
        "self._is_wanted(gid, message, min(file.size, CHUNK_BYTES, self.auto_bytes))",
        ["test_outlines.py::test_nothing_comes_by_itself_that_the_person_does_not_want"],
    ),
    Mutant(
        "an outline comes of a file that has ended",
        "        return not is_over and self._is_wanted",
        "        return self._is_wanted",
        ["test_outlines.py::test_a_file_that_had_ended_when_it_was_said_has_no_outline_fetched"],
    ),
    Mutant(
        "a file that is wanted goes on as its outline alone",
        '        unit.db.execute("UPDATE transfer SET is_outline = 0 WHERE id = ?", (number,))\n',
        "",
        ["test_outlines.py::test_a_file_that_is_wanted_before_its_outline_is_due_comes_at_once"],
    ),
    Mutant(
        "an outline waits until a long file has come",
        "        return is_long and self._transfers.is_outline_due(one.relay, now=self._now())",
        "        return False and is_long",
        ["test_outlines.py::test_a_long_file_gives_way_to_an_outline_and_goes_on"],
    ),
    Mutant(
        "an outline that is missing is asked for again and again",
        "                if one.is_outline:\n                    self._give_up(one)\n                elif",
        "                if",
        [
            "test_outlines.py::test_an_outline_that_is_not_there_is_given_up_and_a_press_fetches_the_file"
        ],
    ),
    Mutant(
        "an outline stays after its message",
        "    DELETE FROM blob WHERE id = old.outline;\n",
        "",
        ["test_outlines.py::test_outlines_go_with_their_messages_and_when_there_is_no_room"],
    ),
    Mutant(
        "outlines take no room",
        'ON b.id IN (file.blob, outline)"',
        'ON b.id IN (file.blob)"',
        ["test_outlines.py::test_outlines_go_with_their_messages_and_when_there_is_no_room"],
    ),
    Mutant(
        "a contact is asked about all lost conversations at once",
        "        if helper is not None and self._must_wait(unit, gid, helper.identity):\n            return\n",
        "",
        ["test_restore.py::test_one_contact_lets_a_device_into_many_conversations"],
    ),
    Mutant(
        "a restored profile is of the generation of the device before it",
        "credential = next_credential(identity, one.credential, signer=self._signer)",
        "credential = one.credential",
        ["test_restore.py::test_device_that_the_backup_was_made_on_is_out_and_makes_no_more"],
    ),
    Mutant(
        "a device that was replaced goes on with backups",
        "        if self._roster.is_replaced():\n            raise ProfileReplaced\n        key, place",
        "        key, place",
        ["test_restore.py::test_device_that_the_backup_was_made_on_is_out_and_makes_no_more"],
    ),
    Mutant(
        "the header of an archive can be changed",
        "        self._head = hashlib.sha256(head).digest()\n",
        '        self._head = b""\n',
        ["test_archive.py::test_header_does_not_change_unnoticed"],
    ),
    Mutant(
        "a backup takes its name without having been restored",
        "    found = check(draft, folder, key, now=now, told=told)\n",
        '    found = Found("", now, 0, 0, {}, 0)\n',
        ["test_backup.py::test_disk_that_gives_back_something_else_is_found_out"],
    ),
    Mutant(
        "a child that makes a backup takes as much of the machine as the client",
        "    os.setpriority(os.PRIO_PROCESS, 0, NICE)\n",
        "",
        ["test_maker.py::test_a_child_takes_what_nobody_else_wants_and_ends_with_the_client"],
    ),
    Mutant(
        "a child that makes a backup outlives the client",
        "    threading.Thread(target=end_with_client, daemon=True).start()\n",
        "",
        ["test_maker.py::test_a_child_at_work_ends_with_the_client"],
    ),
    Mutant(
        "a client waits for a backup to empty its log",
        '        self._db.execute("PRAGMA busy_timeout = 0")\n',
        "",
        ["test_vault.py::test_a_client_does_not_wait_for_a_backup_to_empty_its_log"],
    ),
    Mutant(
        "a restored profile indexes no words of later texts",
        "                for statement in again:\n                    db.execute(statement)\n",
        "",
        ["test_words.py::test_messages_are_found_by_all_words_and_the_beginning_of_the_last"],
    ),
    Mutant(
        "a restored profile takes what the old device did before for its being in use",
        "            return self._vault.get(_READ_IN) == drop_id\n",
        "            return True\n",
        ["test_restore.py::test_device_that_the_backup_was_made_on_is_out_and_makes_no_more"],
    ),
    Mutant(
        "a restored profile does not know how often the old device has claimed",
        "            key = CLAIMED_BEFORE\n",
        "            return\n",
        ["test_restore.py::test_device_that_the_backup_was_made_on_is_out_and_makes_no_more"],
    ),
    Mutant(
        "a device that gives way does not tell the restored one",
        "        self._claims.question(unit)  # which tells the restored profile that this device still runs\n",
        "",
        ["test_generation.py::test_restored_profile_locks_the_old_device_out_and_tells_it"],
    ),
    Mutant(
        "a restored profile takes a file for whole whose content did not come",
        "                    restoring.lose(blob)\n",
        "                    continue\n",
        ["test_restore.py::test_file_whose_content_is_lost_in_the_folder_is_not_here"],
    ),
    Mutant(
        "nobody is told how to go on without a home",
        '        return {self.relay, self.fallback} - {""} <= {*self.away}\n',
        "        return False\n",
        ["test_restore.py::test_person_whose_home_went_with_the_machine_is_told_how_to_go_on"],
    ),
    Mutant(
        "a child that is to check a backup makes one",
        "        if ask.checked:\n",
        "        if ask.checked and not ask.profile and not ask.place:\n",
        ["test_maker.py::test_a_child_checks_a_backup"],
    ),
    Mutant(
        "a restored profile does not count the messages that it has",
        "        self._db.execute(_COUNT)\n",
        "",
        ["test_restore.py::test_everything_said_is_there_at_once"],
    ),
    Mutant(
        "a restored profile does not count later messages",
        "        self._db.execute(self._count_again)\n",
        "",
        ["test_restore.py::test_conversations_come_back_with_what_was_said_meanwhile"],
    ),
    Mutant(
        "a record of an archive is taken in any encoding",
        "codec.decode(decoder, body, BrokenArchive) for body",
        "decoder.decode(body) for body",
        ["test_restore.py::test_records_of_later_versions_are_passed_over"],
    ),
    Mutant(
        "an archive counts what comes with its end twice",
        "        if not self._is_ended:\n            self._count(runs, data[:at])\n",
        "        self._count(runs, data[:at])\n",
        ["test_backup.py::test_backup_is_made_checked_and_told"],
    ),
    Mutant(
        "a child that makes a backup does not know how long backups are kept",
        "        forget_days=folder.forget_days,\n",
        "        forget_days=0,\n",
        ["test_maker.py::test_a_child_forgets_backups_as_the_person_has_set"],
    ),
    Mutant(
        "two shares are as good as a phrase",
        'NEEDED = 3\n"""The shares that',
        'NEEDED = 2\n"""The shares that',
        ["test_shares.py::test_too_few_are_named"],
    ),
    Mutant(
        "shares give the phrase out again to anybody",
        "        if phrases.key_of(phrase) != self._rules.key:\n",
        "        if False:\n",
        ["test_shares.py::test_a_profile_is_restored_by_three_shares"],
    ),
    Mutant(
        "one share that was changed makes all others useless",
        "        except MnemonicError:\n            continue\n",
        "        except MnemonicError:\n            break\n",
        [
            "test_shares.py::test_a_share_that_its_holder_has_changed_is_noticed_and_does_no_harm_beside_three"
        ],
    ),
    Mutant(
        "a backup outlives texts of a short life",
        '_IS_SHORT = "m.life_s > 0 AND m.life_s < ?1"\n',
        '_IS_SHORT = "m.life_s > ?1 AND m.life_s < 0"\n',
        ["test_backup.py::test_deleted_expired_and_short_lived_texts_are_left_out"],
    ),
    Mutant(
        "a backup that ends begins others, though the person wants no more",
        "        if self.folder:\n            unit.put(_DUE, (last.at",
        "        if True:\n            unit.put(_DUE, (last.at",
        ["test_backup.py::test_backup_that_was_under_way_when_they_were_stopped_begins_no_others"],
    ),
    Mutant(
        "the contents that kept backups name go",
        "            if path.name not in named:\n",
        "            if path.name in named:\n",
        [
            "test_backup.py::test_content_is_written_once_and_goes_with_the_last_backup_that_names_it"
        ],
    ),
    Mutant(
        "any words show that the phrase was noted",
        "            if not 1 <= place <= phrases.WORDS or phrases.word_of(said, place) != right[place - 1]:\n",
        "            if not 1 <= place <= phrases.WORDS:\n",
        ["test_backup.py::test_words_of_the_phrase_are_asked_for"],
    ),
    Mutant(
        "words that are given back before a week take the second question away",
        "        elif self.is_asked(unit.now):\n            self._forget(unit, _ASK_AT)\n",
        "        else:\n            self._forget(unit, _ASK_AT)\n",
        ["test_backup.py::test_words_are_asked_for_once_more_after_a_week"],
    ),
    Mutant(
        "backups that are to be forgotten are kept",
        "            kept = set(keeping([one.at for one in there], forget_days=self.forget_days))\n",
        "            kept = set(keeping([one.at for one in there]))\n",
        ["test_backup.py::test_a_backup_removes_those_that_are_to_be_forgotten"],
    ),
    Mutant(
        "nobody is told that the last backup is old",
        "        return bool(self.folder) and last is not None and last.at + LATE_MS <= now\n",
        "        return False\n",
        ["test_backup.py::test_a_backup_that_is_old_is_told"],
    ),
    Mutant(
        "a restored profile does not ask to be let in",
        "now = {State.ACTIVE: State.ASTRAY, ",
        "now = {State.ACTIVE: State.LEFT, ",
        ["test_restore.py::test_everything_said_is_there_at_once"],
    ),
    Mutant(
        "a restored profile never believes that it is in a group again",
        "        self._recalled.forget(unit, gid)\n        self._roster.forget_group(gid)\n",
        "        self._roster.forget_group(gid)\n",
        ["test_restore.py::test_groups_that_went_on_since_the_backup_let_the_device_in"],
    ),
    Mutant(
        "an export names a file outside its folder",
        'return "" if ".." in parts or ":" in parts[0] else path',
        "return path",
        ["test_importing.py::test_path_that_is_none_or_leaves_the_folder_is_not_taken"],
    ),
    Mutant(
        "an export's file may be a link to another place",
        "descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | ",
        "descriptor = os.open(place, os.O_RDONLY | ",
        ["test_imports.py::test_only_a_file_in_the_folder_is_opened"],
    ),
    Mutant(
        "an export that is still being written is taken for whole",
        "        if self.version() != self._before:\n",
        "        if False:\n",
        ["test_imports.py::test_export_that_changes_while_it_is_read_is_refused_by_name"],
    ),
    Mutant(
        "a message that cannot be followed takes the next ones along",
        "                    and not resumes\n",
        "",
        ["test_importing.py::test_message_that_seems_to_hold_the_next_one_costs_itself_alone"],
    ),
    Mutant(
        "an import forgets how far it has got",
        "        self._rules.keep_done(unit, self._file, self._version, self._read)\n",
        "",
        ["test_imports.py::test_import_goes_on_behind_what_it_has_written"],
    ),
    Mutant(
        "an import goes on behind messages that the person has deleted",
        '        unit.db.execute("DELETE FROM import_run")\n',
        "",
        ["test_imports.py::test_chat_that_is_deleted_during_an_import_comes_back_whole"],
    ),
    Mutant(
        "an import goes on where one ended that left other chats out",
        "        self._version = json.dumps([export.version(), *sorted(self._without)])\n",
        "        self._version = export.version()\n",
        ["test_imports.py::test_import_without_a_chat_does_not_go_on_where_another_one_ended"],
    ),
    Mutant(
        "a page of an export may be a link to another place",
        "    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        "    flags = os.O_RDONLY | os.O_CLOEXEC\n",
        ["test_importing_html.py::test_page_that_becomes_a_link_while_it_is_read_is_refused"],
    ),
    Mutant(
        "the author of forwarded words is taken for their sender",
        "(self.forwarded if self.is_forwarded else self.name).append(data)",
        "self.name.append(data)",
        [
            "test_importing_html.py::test_author_goes_on_across_pages_and_a_forwarded_one_is_not_taken_for_them"
        ],
    ),
    Mutant(
        "an import goes online",
        "    session.with_client(args, preview if args.preview else work, is_online=False)\n",
        "    session.with_client(args, preview if args.preview else work)\n",
        ["test_import_networks.py::test_no_packet_leaves_during_previews_and_imports"],
    ),
    Mutant(
        "an import that was stopped goes on",
        "        if self._is_stopped:\n",
        "        if False:\n",
        ["test_page_imports.py::test_import_tells_how_far_it_is_and_goes_on_after_it_was_stopped"],
    ),
    Mutant(
        "names that were counted once stay after an import",
        "                    self._counted.clear()\n",
        "",
        ["test_page_imports.py::test_names_of_a_chat_are_right_after_every_import"],
    ),
    Mutant(
        "the index of imported words keeps those that were deleted",
        "INSERT INTO imported_said (imported_said, rank) VALUES ('secure-delete', 1);\n",
        "",
        ["test_imports.py::test_words_of_a_deleted_chat_stay_in_no_file"],
    ),
    Mutant(
        "a child reads a picture before it has given anything up",
        "    confinement.seal()\n    given, taken",
        "    given, taken",
        ["test_media.py::test_the_child_is_told_nothing_but_the_picture"],
    ),
    Mutant(
        "a sealed child may make any system call",
        '    if platform.machine() == "x86_64":\n        _take_filter(system)\n',
        "",
        ["test_confinement.py::test_a_sealed_child_can_open_nothing_call_nobody_and_start_nothing"],
    ),
    Mutant(
        "a sealed child may use files as far as it has descriptors",
        "    _take_landlock(system)\n",
        "",
        ["test_confinement.py::test_landlock_closes_files_programs_and_calls"],
    ),
    Mutant(
        "a preview leaves as the child has made it",
        "        small = bare.sides(preview, made.preview_type)\n",
        "        small = (1, 1)\n",
        ["test_media.py::test_a_child_that_fails_or_lies_is_gone_and_nothing_of_it_leaves"],
    ),
    Mutant(
        "bytes behind a picture leave with it",
        "        if data[at : at + 3] == bytes((0xFF, _END)):",
        "        if data[at : at + 2] == bytes((0xFF, _END)):",
        [
            "test_media.py::test_a_child_that_fails_or_lies_is_gone_and_nothing_of_it_leaves",
            "test_media.py::test_a_picture_that_holds_anything_else_is_not_bare",
        ],
    ),
    Mutant(
        "a voice note names the rate of the microphone",
        "_pages(_bare_head(head), ",
        "_pages(head, ",
        [
            "test_voice.py::test_nothing_that_a_browser_wrote_stays_and_both_formats_leave_alike",
        ],
    ),
    Mutant(
        "anything that says that it is a voice note is handed to the browser as sound",
        '(re.compile(rb"OggS"), "audio/ogg", "ogg")',
        '(re.compile(rb""), "audio/ogg", "ogg")',
        [
            "test_page_voice.py::test_a_note_that_is_none_is_not_played_and_a_lie_about_its_length_harms_nothing",
        ],
    ),
    Mutant(
        "it is forgotten that a voice note was played",
        "UPDATE file SET is_played = 1 WHERE",
        "UPDATE file SET is_played = 0 WHERE",
        [
            "test_voice.py::test_it_stays_known_that_a_voice_note_was_played_and_nobody_is_told",
        ],
    ),
    Mutant(
        "a voice note may be announced with any waveform",
        "len(file.hint) in {0, WAVEFORM_BYTES}",
        "len(file.hint) <= WAVEFORM_BYTES",
        [
            "test_voice.py::test_a_voice_note_whose_announcement_lies_is_told_by_name_or_harms_nothing",
        ],
    ),
    Mutant(
        "a block with several packets is taken for one",
        "or body[begin + 2] & _LACED:",
        "or not body[begin + 2]:",
        ["test_voice.py::test_what_is_no_recording_is_refused_by_name"],
    ),
    Mutant(
        "a picture lies as the camera was held",
        "turn = _TURNS.get(_orientation(found))",
        "turn = _TURNS.get(1)",
        ["test_media.py::test_a_picture_is_upright_however_the_camera_was_held"],
    ),
    Mutant(
        "colours of a wide screen are taken for those of any screen",
        '    profile = found.info.get("icc_profile")\n',
        '    profile = b""\n',
        ["test_media.py::test_colours_of_a_wide_screen_look_alike_without_their_profile"],
    ),
    Mutant(
        "a picture that moves is sent as its first moment",
        "        raise Refused(frames.MOVING)\n",
        "        found.seek(0)\n",
        ["test_media.py::test_what_cannot_be_sent_as_a_picture_is_refused_by_name"],
    ),
    Mutant(
        "a time that a PNG tells in a block of its own is not told",
        '    if b"tIME" in names:\n        bits |= TIME\n',
        "",
        ["test_media.py::test_traces_tell_what_stays_in_a_file"],
    ),
    Mutant(
        "a child that nobody waits for goes on",
        "        if self._child is not None:\n            await children.end(self._child)\n",
        "        if self._child is not None and error is None:\n            await children.end(self._child)\n",
        ["test_media.py::test_a_child_is_gone_if_nobody_waits_for_its_answer"],
    ),
    Mutant(
        "a file is said before its relay has all of it",
        "elif upload.is_whole and (now := self._transfers.get(one.id)) is not None:\n",
        "elif (now := self._transfers.get(one.id)) is not None:\n",
        ["test_files.py::test_a_busy_relay_delays_a_file_and_loses_nothing"],
    ),
    Mutant(
        "a chunk is used without a look at its hash",
        "if not fits or chunk_hash(payload) != self._hash(number - 1):\n",
        "if not fits:\n",
        ["test_file_format.py::test_another_cell_of_somebody_who_has_the_secret_is_never_believed"],
    ),
    Mutant(
        "the outline of a file is whatever the relay gives",
        "        if outline_hash(payload) != self._file.outline:\n",
        "        if not payload:\n",
        ["test_file_format.py::test_a_whole_other_file_under_the_same_secret_is_never_believed"],
    ),
    Mutant(
        "a short file is a short cell",
        "            least=LARGE_CELL,\n",
        "",
        ["test_file_format.py::test_all_cells_of_a_file_have_one_size_and_a_reader_gets_it_back"],
    ),
    Mutant(
        "a cell of a file counts as here before the disk has it",
        "        keep(checked)\n        for number, _ in checked:\n            self.done.add(number)\n",
        "        for number, _ in checked:\n            self.done.add(number)\n        keep(checked)\n",
        [
            "test_file_format.py::test_a_cell_that_could_not_be_kept_is_not_done",
            "test_files.py::test_a_full_disk_stops_the_file_and_nothing_else",
        ],
    ),
    Mutant(
        "a file is fetched from wherever its message says",
        "        if not shared.is_near and relay != shared.file.relay:\n",
        "        if not shared.file.relay:\n",
        [
            "test_files.py::test_no_message_makes_a_client_connect_to_a_relay_that_is_not_its_senders"
        ],
    ),
    Mutant(
        "a file that nobody has any more stays on the disk",
        "            removed = [one for one in ended if blobs.remove(one)]\n",
        "            removed = ended\n",
        ["test_files.py::test_a_deleted_file_leaves_nothing_at_anybody"],
    ),
    Mutant(
        "a fault of the disk that a thread has heard of is forgotten",
        "                syncing.result()\n",
        "                syncing.exception()\n",
        ["test_files.py::test_a_disk_that_fails_while_more_is_written_is_noticed"],
    ),
    Mutant(
        "frames that are written together begin one too early",
        "            at, rest = first * FRAME_BYTES, sealed\n",
        "            at, rest = max(first - 1, 0) * FRAME_BYTES, sealed\n",
        ["test_files.py::test_frames_that_are_written_together_are_read_one_by_one"],
    ),
    Mutant(
        "files, after each lost link all of a download is read again",
        "            is_new = one.id not in self._looked_at\n",
        "            is_new = True\n",
        ["test_files.py::test_what_has_come_of_a_file_is_looked_at_once_in_a_process"],
    ),
    Mutant(
        "files, one that was asked for again is not fetched when it comes",
        "        if shared.is_near and (before is None or before.is_outline):",
        "        if False:",
        ["test_files.py::test_a_file_that_has_ended_is_put_up_again_by_its_author"],
    ),
    Mutant(
        "whoever asks for a file makes its author's line busy for ever",
        "        is_soon = 0 <= unit.now - again_at < AGAIN_MS\n",
        "        is_soon = False\n",
        ["test_files.py::test_a_file_that_has_ended_is_put_up_again_by_its_author"],
    ),
    Mutant(
        "while the proxy is away the relay is called around it",
        "            self.is_away = self._proxy is proxy\n            raise\n",
        "            self.is_away = self._proxy is proxy\n            return await self._direct.dial(key, place, await self._direct.resolve(place))\n",
        [
            "test_proxy.py::test_whatever_a_proxy_answers_nothing_goes_around_it_and_it_ends_in_time",
            "test_proxy_networks.py::test_two_talk_out_of_a_network_that_leads_to_a_proxy_alone",
        ],
    ),
    Mutant(
        "the names of relays are resolved before the proxy is asked",
        "        rdns=True,\n",
        "        rdns=False,\n",
        ["test_proxy.py::test_two_people_talk_through_a_proxy_that_alone_is_told_the_names"],
    ),
    Mutant(
        "a name that the proxy resolves is looked up as well",
        "        return [place.host] if _is_ip(place.host) else []\n",
        "        try:\n            return await self._direct.resolve(place)\n        except RelayUnreachable:\n            return []\n",
        [
            "test_proxy.py::test_whatever_a_proxy_answers_nothing_goes_around_it_and_it_ends_in_time",
            "test_proxy.py::test_two_people_talk_through_a_proxy_that_alone_is_told_the_names",
        ],
    ),
    Mutant(
        "a link of before goes on around a proxy that is set",
        "        for link in tuple(self._links):\n            link.close()\n",
        "",
        [
            "test_proxy.py::test_a_proxy_that_is_set_ends_every_link_and_every_call_that_goes_around_it"
        ],
    ),
    Mutant(
        "a call of before goes on around a proxy that is set",
        "        for one in dialling:\n            one.reschedule(now)\n",
        "",
        [
            "test_proxy.py::test_a_proxy_that_is_set_ends_every_link_and_every_call_that_goes_around_it"
        ],
    ),
    Mutant(
        "a hop on this machine hands requests on around the proxy",
        "            if link.is_around:\n",
        "            if link.is_around and not link.is_open:\n",
        ["test_proxy.py::test_a_hop_on_this_machine_hands_nothing_on_around_the_proxy"],
    ),
    Mutant(
        "the friend beside the page's relay goes around the person's proxy",
        "self._friend, Unlock(key=key), name=FRIEND, relay=relay, around=around\n",
        "self._friend, Unlock(key=key), name=FRIEND, relay=relay\n",
        ["test_page_start.py::test_the_friend_goes_by_the_proxy_of_the_person"],
    ),
    Mutant(
        "wiping deletes the files and leaves the salt on the disk",
        "                _overwrite(path)\n",
        "                pass\n",
        [
            "test_wiping.py::test_a_profile_whose_wiping_was_broken_off_at_any_step_can_be_read_by_nobody"
        ],
    ),
    Mutant(
        "wiping forgets the draft of an unlock file",
        "for one in (path, path.with_suffix(_DRAFT)) if one.exists()]",
        "for one in (path,) if one.exists()]",
        ["test_wiping.py::test_the_draft_of_a_change_is_wiped_too"],
    ),
    Mutant(
        "the words of a removed contact are kept while they do not know yet",
        "return self.is_blocked(identity) or self.is_shut(gid)",
        "return self.is_blocked(identity)",
        ["test_parting.py::test_nothing_that_a_removed_contact_still_says_is_kept"],
    ),
    Mutant(
        "whoever was blocked is heard in groups once they are removed",
        'unit.db.execute("INSERT OR IGNORE INTO shut_out VALUES (?)", (identity,))',
        "pass",
        ["test_parting.py::test_a_blocked_contact_stays_blocked_in_groups_until_we_meet_again"],
    ),
    Mutant(
        "a knock of somebody who has just left is ignored",
        "            and not self._conversations.roster.is_parting(row[0])\n",
        "",
        ["test_parting.py::test_a_knock_that_comes_together_with_the_leaving_is_answered"],
    ),
    Mutant(
        "a cleared conversation keeps its texts to send them again",
        "        self._strip_sent(unit, gid, None)\n",
        "        self.will_scrub()\n",
        ["test_clearing.py::test_no_word_of_a_cleared_conversation_stays_in_the_files"],
    ),
    Mutant(
        "a text that was cleared comes again",
        "INSERT OR IGNORE INTO gone SELECT gid, id FROM message WHERE gid = ?",
        "SELECT gid, id FROM message WHERE gid = ?",
        ["test_clearing.py::test_a_cleared_text_that_comes_again_is_not_shown"],
    ),
    Mutant(
        "a conversation that was left and cleared stays hidden when we are let in again",
        'unit.db.execute("UPDATE desk SET is_hidden = 0 WHERE gid = ?", (gid,))',
        "pass",
        ["test_clearing.py::test_a_cleared_group_that_we_left_is_listed_again_once_we_are_let_in"],
    ),
    Mutant(
        "the unlock file names only the new passphrase while the old one opens the vault",
        "both = settings | {unlock_file.NEXT: change.settings}",
        "both = change.settings",
        ["test_vault.py::test_a_vault_whose_process_died_while_it_changed_opens_with_exactly_one"],
    ),
    Mutant(
        "a change of the passphrase believes whatever SQLCipher says of it",
        "        found = _try_key(self.directory, change.key, self._driver)\n        if found is not None and failure is None:\n            found[0].close()\n",
        "        found = None\n        if failure is None:\n",
        ["test_disk.py::test_a_passphrase_that_cannot_be_changed_for_want_of_room_is_the_old_one"],
    ),
    Mutant(
        "an edit makes forwarded words one's own",
        "UPDATE message SET text = ? WHERE row = ?",
        "UPDATE message SET text = ?, is_forwarded = 0 WHERE row = ?",
        ["test_forwarding.py::test_a_forwarded_text_is_marked_for_everybody_and_names_nobody"],
    ),
    Mutant(
        "a forwarded text keeps the life of the first one",
        "text = Text(words, None, self._history.timer(to), is_forwarded=True)",
        "text = Text(words, None, self._history.timer(gid), is_forwarded=True)",
        ["test_forwarding.py::test_a_forwarded_text_lives_as_long_as_others_where_it_is_said"],
    ),
    Mutant(
        "notes to oneself are a group like others",
        "SET state = 'notes', look_due_at = NULL WHERE gid",
        "SET state = 'active', look_due_at = NULL WHERE gid",
        ["test_notes.py::test_nothing_of_notes_reaches_a_relay_however_long_they_are_kept"],
    ),
    Mutant(
        "words for a person of our own name end among our notes",
        "named = [c for c in views if not c.is_notes and typed(c.name) == wanted]",
        "named = [c for c in views if typed(c.name) == wanted]",
        ["test_notes.py::test_notes_are_found_by_their_id_alone"],
    ),
    Mutant(
        "the name that came last counts, however old it is",
        "if earlier is not None and earlier >= (new.version, new.name):",
        "if earlier is not None and earlier == (new.version, new.name):",
        ["test_naming.py::test_the_newest_name_counts_in_whatever_order_names_come"],
    ),
    Mutant(
        "a contact changes their name in silence",
        "            self._tell_person(unit, direct, sender, before)\n",
        "",
        ["test_naming.py::test_contacts_and_members_learn_a_new_name_and_are_told"],
    ),
    Mutant(
        "a contact looks like the person themselves",
        "return distinct(name, [*taken, self._me.name]), known",
        "return distinct(name, taken), known",
        ["test_naming.py::test_a_new_contact_does_not_look_like_ourselves"],
    ),
    Mutant(
        "newcomers see the name that a member had when they came",
        "                self._naming.tell(unit, gid)  # and perhaps our old name\n",
        "                pass\n",
        ["test_naming.py::test_a_newcomer_hears_present_names_and_no_old_news"],
    ),
    Mutant(
        "a background does whatever it is asked for",
        "if args.command.needs is not Needs.CLIENT:",
        "if args.command.needs is Needs.BACKGROUND:",
        ["test_commands.py::test_a_background_does_what_needs_a_client_and_nothing_else"],
    ),
    Mutant(
        "the index keeps the words of what was deleted",
        "INSERT INTO said (said, rank) VALUES ('secure-delete', 1);\n",
        "",
        ["test_history.py::test_nothing_of_a_deleted_text_stays_in_the_files"],
    ),
    Mutant(
        "an index of another version is kept",
        "    if noted is not None and bytes(noted[0]) == version():\n",
        "    if noted is not None:\n",
        ["test_words.py::test_an_index_of_another_version_is_made_anew"],
    ),
    Mutant(
        "what was counted in a conversation holds for ever",
        "        if state != (total, newest):\n",
        "        if state == (0, 0):\n",
        ["test_transcript.py::test_how_many_stand_before_is_right_after_messages_came_and_went"],
    ),
    Mutant(
        "an event stands for one of another kind",
        "dict.fromkeys((type(event), event) for event in unit.events)",
        "dict.fromkeys((Event, event) for event in unit.events)",
        ["test_transcript.py::test_events_of_different_kinds_about_one_conversation_are_all_told"],
    ),
    Mutant(
        "what nobody takes is kept for ever",
        "        if len(self._waiting) >= MAX_EVENTS:\n",
        "        if len(self._waiting) < 0:\n",
        ["test_transcript.py::test_events_end_with_overrun_where_nobody_takes_them"],
    ),
    Mutant(
        "work that is broken off before it has begun is left lying",
        "        task.add_done_callback(lambda _: work.close())\n",
        "",
        [
            "test_client_api.py::test_a_client_that_is_stopped_before_it_has_begun_leaves_nothing_undone"
        ],
    ),
    Mutant(
        "whoever reads the vault can write into it",
        'if not query.startswith("SELECT"):',
        "if False:",
        ["test_unit.py::test_a_reader_cannot_write"],
    ),
    Mutant(
        "memory stays ahead of the vault when a unit fails",
        "self.bind(after_commit=made.settle, forget=made.undo)",
        "self.bind(after_commit=made.settle, forget=made.settle)",
        ["test_unit.py::test_memory_is_as_it_was_before_a_unit_that_failed"],
    ),
    Mutant(
        "what follows from something is done after all else",
        "rest, unit.following = unit.following, deque()",
        "rest, unit.following = deque(), unit.following",
        ["test_unit.py::test_what_follows_is_done_within_the_unit_and_in_the_order_of_calls"],
    ),
    Mutant(
        "what others say of a device counts as said",
        "UPDATE heard SET hint = min(?, ?), hint_until = ?",
        "UPDATE heard SET told = min(?, ?), hint_until = ?",
        ["test_claims.py::test_nobody_misses_what_only_a_third_person_speaks_of"],
    ),
    Mutant(
        "a receipt for more than was said proves that a vault was copied",
        "if ack.mark == self._claims.mark(gid, ack.seq, ack.hash):",
        "if ack.seq:",
        ["test_claims.py::test_nobody_is_silenced_by_receipts_for_what_they_have_not_said"],
    ),
    Mutant(
        "a mark is good for any envelope",
        'said = self._me.signer + gid + seq.to_bytes(8, "big") + digest',
        "said = self._me.signer + digest",
        ["test_claims.py::test_true_marks_prove_nothing_of_other_envelopes_and_conversations"],
    ),
    Mutant(
        "a word is thrown away when a relay says that its label is taken",
        "if isinstance(answer, LabelTaken) and self._make_again(unit, row):",
        "if False:",
        ["test_claims.py::test_label_that_a_relay_says_is_taken_costs_another_label_and_no_word"],
    ),
    Mutant(
        "a label passed over in one lane moves the other lane, too",
        '            "UPDATE chain_out SET chain = ? WHERE gid = ? AND identity = ? AND lane = ?",\n            (after, gid, identity, lane),\n        )\n        db.execute(\n            "UPDATE outbox',
        '            "UPDATE chain_out SET chain = ? WHERE gid = ? AND identity = ?",\n            (after, gid, identity),\n        )\n        db.execute(\n            "UPDATE outbox',
        ["test_labels_taken.py::test_label_taken_in_one_lane_leaves_the_other_as_it_is"],
    ),
    Mutant(
        "a cell of an epoch drop leaves under the same label again",
        "cell=place.seal(place.open(request.cell))",
        "cell=request.cell",
        ["test_labels_taken.py::test_word_of_a_large_group_leaves_under_another_label"],
    ),
    Mutant(
        "a Commit whose label is said to be taken is given up",
        "if isinstance(answer, LabelTaken) and self._make_again(unit, row):",
        'if isinstance(answer, LabelTaken) and row.purpose != "commit" and self._make_again(unit, row):',
        ["test_labels_taken.py::test_commit_leaves_under_another_label_and_proves_no_copied_vault"],
    ),
    Mutant(
        "whoever is told of a file can append to its drop",
        "file_drop(ref)._replace(append_token=secrets.token_bytes(32))",
        "file_drop(ref)",
        [
            "test_labels_taken.py::test_a_newcomer_cannot_keep_others_out_by_what_they_put_into_the_file"
        ],
    ),
    Mutant(
        "a file whose label is taken is sent the same way again",
        '                unit.db.execute("DELETE FROM outbox WHERE id = ?", (row.id,))\n                self._conversations.warnings.warn_of(\n                    unit, row.relay, LabelTaken.code, "of a file',
        '                self._send_later(unit, row, None)\n                self._conversations.warnings.warn_of(\n                    unit, row.relay, LabelTaken.code, "of a file',
        [
            "test_labels_taken.py::test_file_whose_label_is_said_to_be_taken_is_told_and_not_sent_all_the_time"
        ],
    ),
    Mutant(
        "a page of another port gets the socket of ours",
        'if headers.get("Origin") != self.origin:',
        "if not headers:",
        ["test_page.py::test_nobody_else_gets_a_socket"],
    ),
    Mutant(
        "a page is as far ahead of the client as it likes",
        " or self._held + len(data) > WINDOW_BYTES",
        "",
        ["test_page_files.py::test_a_page_is_no_further_ahead_than_its_window"],
    ),
    Mutant(
        "a file of somebody's runs beside the page",
        '    "Content-Security-Policy": "sandbox; default-src \'none\'",\n',
        "",
        [
            "test_page_files.py::test_a_file_is_handed_out_for_a_ticket_of_the_page_alone_and_as_bytes"
        ],
    ),
    Mutant(
        "a link to the page works again",
        "self._links.pop(found) <= now",
        "self._links[found] <= now",
        ["test_page.py::test_a_link_works_once_and_soon"],
    ),
    Mutant(
        "other programs that listen on this machine are sent the page's cookie",
        'f" Path={self.path}"',
        '" Path=/"',
        ["test_page.py::test_the_cookie_is_for_no_script_no_other_site_and_no_other_path"],
    ),
    Mutant(
        "the time until a lock begins anew with every tab that closes after the last one",
        "        elif self._since is None:\n            self._since = now",
        "        else:\n            self._since = now",
        ["test_page_alone.py::test_the_time_counts_from_the_last_tab_that_closed"],
    ),
    Mutant(
        "a profile that nobody looks at is never locked",
        "self._locking = asyncio.ensure_future(self.close())",
        "self._locking = None",
        ["test_page_alone.py::test_a_profile_that_locks_itself_opens_again"],
    ),
    Mutant(
        "a person who types too much is hung up on",
        "return _NUMBERS.decode(data).id",
        "return None",
        ["test_page.py::test_what_is_no_ask_is_refused_under_its_number_if_it_has_one"],
    ),
    Mutant(
        "what is set in one tab reaches no other",
        "self.tell(attendant.share(ask))",
        "attendant.share(ask)",
        ["test_page_told.py::test_what_is_set_in_one_tab_is_so_in_the_others"],
    ),
    Mutant(
        "page, a backup that has ended stays on the page",
        "            yield told\n        finally:\n            self._set(None)\n",
        "            yield told\n        finally:\n            pass\n",
        ["test_page_backups.py::test_page_has_backups_made_checked_and_stopped"],
    ),
    Mutant(
        "page, a path may hold what ends it for the system",
        '    if "\\0" in str(path) or not path.is_absolute():\n',
        "    if not path.is_absolute():\n",
        ["test_page_imports.py::test_place_of_an_export_is_a_whole_path"],
    ),
    Mutant(
        "page, another tab is not told what opens the profile",
        """            self.tell([telling.told("unlocking", opens_with=found)])""",
        "            pass",
        ["test_page_basics.py::test_the_system_keyring_takes_the_place_of_a_passphrase_and_back"],
    ),
    Mutant(
        "page, a gap has no place of its own",
        """"who": one.identity.hex(), "upto": one.upto}""",
        """"who": one.identity.hex(), "upto": one.upto + 99}""",
        ["test_page_talk.py::test_a_gap_is_said_in_its_place_until_it_is_closed"],
    ),
    Mutant(
        "the last line of a group keeps the old name of whoever said it",
        "if one.gid in theirs or (one.last and one.last.position.identity == identity)",
        "if one.gid in theirs",
        ["test_page.py::test_another_name_is_told_with_each_line_that_shows_it"],
    ),
    Mutant(
        "another user of the machine gets the page",
        "return int(row[7]) == os.getuid()",
        "return True",
        ["test_page_served.py::test_another_user_of_the_machine_gets_nothing_even_with_the_cookie"],
    ),
    Mutant(
        "a Commit that a relay refuses for good is waited for without end",
        "                self._conversations.commits.give_up_attempt(unit, row.about)",
        "                pass",
        ["test_refused.py::test_a_commit_that_is_refused_for_good_is_made_again_later"],
    ),
    Mutant(
        "a Commit that a relay has refused for good is not made again",
        "        for gid in rules.commits.refused(now):",
        "        for gid in []:",
        ["test_refused.py::test_a_commit_that_is_refused_for_good_is_made_again_later"],
    ),
    Mutant(
        "a sender who never comes back is asked without end",
        "return bool(asked <= MAX_ASKS)",
        "return True",
        [
            "test_refused.py::test_messages_of_a_sender_who_never_comes_back_are_told_as_lost_in_the_end"
        ],
    ),
    Mutant(
        "a held word whose label is taken is sent the same way again",
        '                unit.db.execute("DELETE FROM outbox WHERE id = ?", (row.id,))\n                self._conversations.warnings.warn_of(\n                    unit, row.relay, LabelTaken.code, "of a held',
        '                self._send_later(unit, row, None)\n                self._conversations.warnings.warn_of(\n                    unit, row.relay, LabelTaken.code, "of a held',
        [
            "test_labels_taken.py::test_held_word_whose_label_is_said_to_be_taken_is_held_anew_and_told"
        ],
    ),
    Mutant(
        "a Welcome takes the place of somebody else's",
        '            "INSERT OR REPLACE INTO joining VALUES (?, ?, ?, ?)",\n            (offer.gid',
        '            "DELETE FROM joining WHERE gid = ?", (offer.gid,))\n        unit.db.execute(\n            "INSERT OR REPLACE INTO joining VALUES (?, ?, ?, ?)",\n            (offer.gid',
        ["test_joining.py::test_welcome_that_leads_nowhere_takes_nobody_elses_place"],
    ),
    Mutant(
        "a Welcome into a conversation that we are in is used up",
        """ AND state IN ('active', 'leaving'))\"""",
        """ AND state = '')\"""",
        ["test_joining.py::test_rightful_group_is_joined_once_one_of_the_same_id_was_left"],
    ),
    Mutant(
        "what was said in a conversation that is given up is lost with it",
        "        self._waiting.keep(unit, gid, gone.words)\n",
        "",
        ["test_invite.py::test_a_text_between_two_answers_is_said_in_the_conversation_that_stays"],
    ),
    Mutant(
        "a text of a conversation that was given up counts as delivered by its old number",
        "seq = CASE identity WHEN ?4 THEN 0 ELSE seq END",
        "seq = CASE identity WHEN ?4 THEN seq ELSE seq END",
        [
            "test_invite.py::test_text_of_a_conversation_that_was_given_up_is_delivered_when_it_has_come"
        ],
    ),
    Mutant(
        "a device does not say where its words begin for whoever has come",
        "        return [Before(epoch, seq) for epoch, seq in rows]\n",
        "        return []\n",
        ["test_joining.py::test_newcomer_asks_nobody_for_what_was_said_before_they_came"],
    ),
    Mutant(
        "newcomers ask for what others heard before they came",
        " AND substr(signer, 1, 8) = ? AND came = 0",
        " AND substr(signer, 1, 8) = ?",
        ["test_joining.py::test_newcomer_asks_nobody_for_what_was_said_before_they_came"],
    ),
    Mutant(
        "words are deleted with keys",
        "            self._waiting.keep(unit, gid, self._saying.not_come(gid))\n",
        "",
        ["test_claims.py::test_words_that_were_not_confirmed_are_said_again_after_a_restart"],
    ),
    Mutant(
        "a receipt counts by its number",
        "if ours[:8] != ack.hash:",
        "if not ours:",
        ["test_claims.py::test_only_a_peer_who_names_an_envelope_by_its_hash_has_it"],
    ),
    Mutant(
        "what a relay said is told once",
        "TOLD = 2\n",
        "TOLD = 1\n",
        ["test_gaps.py::test_lie_is_told_where_the_cell_that_tells_of_it_is_lost_too"],
    ),
    Mutant(
        "of what a relay said the last is told",
        "KEPT_SEEN = 8",
        "KEPT_SEEN = 1",
        ["test_gaps.py::test_two_cells_that_leave_at_once_are_both_told_of"],
    ),
    Mutant(
        "covered, nothing leaves where there is nothing to be said",
        "                await self._empty()",
        "                pass",
        ["test_routes.py::test_covered_one_cell_leaves_in_each_period_whatever_is_said"],
    ),
    Mutant(
        "covered, the home is asked directly when there is no hop",
        "            if self.period_s:\n                raise NoHop",
        "            if False:\n                raise NoHop",
        ["test_routes.py::test_covered_without_a_hop_any_more_waits_and_says_why"],
    ),
    Mutant(
        "covered, a receipt takes the place of a word",
        "is_silent = bool(self._routes.period_s and self._sending.holds_any())",
        "is_silent = False",
        ["test_routes.py::test_covered_words_go_before_receipts"],
    ),
    Mutant(
        "a hop hands on in the order in which it was asked",
        "        secrets.SystemRandom().shuffle(turns)\n",
        "",
        ["test_hop.py::test_a_hop_hands_on_in_an_order_drawn_by_lot"],
    ),
    Mutant(
        "a hop hands on at once",
        "                await self._turn()",
        "                pass",
        ["test_hop.py::test_a_hop_hands_on_in_an_order_drawn_by_lot"],
    ),
    Mutant(
        "where another key answers no other place is tried",
        "            strangers.append(place)\n",
        "            raise\n",
        ["test_link.py::test_where_another_key_answers_the_next_place_is_tried_and_it_is_told"],
    ),
    Mutant(
        "a relay that is away hides that another key answered for it",
        "    RelayKeyChanged: 4,\n",
        "    RelayKeyChanged: 0,\n",
        ["test_link.py::test_another_key_is_told_if_the_relay_is_found_nowhere"],
    ),
    Mutant(
        "a place on a private network is called on whoever named it",
        "if not may_be_private(place) and",
        "if False and",
        ["test_link.py::test_a_place_of_a_private_network_is_not_called_on_unless_it_was_named"],
    ),
    Mutant(
        "anybody can say where a relay is",
        "if not _has_signed(self.key, _address_text(self), self.signature):",
        "if not self.signature:",
        [
            "test_protocol.py::test_a_signed_address_is_read_back_and_only_its_relay_can_have_made_it"
        ],
    ),
    Mutant(
        "a relay can send people to a place without TLS",
        'if any(place.tls == "off" for place in self.places):',
        "if not self.key:",
        ["test_places.py::test_no_record_of_others_names_a_place_without_tls"],
    ),
    Mutant(
        "a relay can hand out another one's address as its own",
        "if descriptor.key != key or descriptor.address.key != key:",
        "if descriptor.key != key:",
        ["test_protocol.py::test_a_descriptor_says_where_its_own_relay_is"],
    ),
    Mutant(
        "an old word of a relay counts again at whoever is asked",
        "is not None and before.issued >= address.issued",
        "is not None and before.issued == address.issued",
        ["test_hop.py::test_what_a_relay_said_before_drives_out_nothing"],
    ),
    Mutant(
        "a hop asks in its own network for a listed relay that says that it is there",
        "may_be_private=named.__contains__",
        "may_be_private=lambda _place: True",
        [
            "test_hop.py::test_a_listed_relay_that_moved_is_found_where_it_says_and_not_in_the_hops_network"
        ],
    ),
    Mutant(
        "a relay is blamed for what a hop says of it",
        "except (PeerError, BrokenDescriptor) as error:",
        "except HopRefused as error:",
        ["test_places.py::test_a_hop_that_lies_about_where_a_relay_is_is_believed_in_nothing"],
    ),
    Mutant(
        "an invite has us call on our own network",
        "network=network, may_be_private=lambda _place: is_named)",
        "network=network, may_be_private=lambda _place: True)",
        ["test_places.py::test_no_invite_has_us_call_on_our_own_machine_or_network"],
    ),
    Mutant(
        "a flood of addresses drives out where our relays are",
        ' UNION SELECT relay FROM relay"',
        '"',
        ["test_places.py::test_a_flood_of_addresses_drives_out_nothing_that_is_ours_or_waited_for"],
    ),
    Mutant(
        "a relay that is elsewhere all the time has us write all the time",
        'return not 0 <= now - self._number("addresses version") < TELL_EVERY_MS',
        "return True",
        [
            "test_places.py::test_a_relay_that_is_elsewhere_all_the_time_does_not_have_us_write_all_the_time"
        ],
    ),
    Mutant(
        "nobody is told where our relay is now",
        '            unit.put(_NEWS, b"")\n',
        "            pass\n",
        ["test_places.py::test_a_person_who_gets_the_new_place_of_their_relay_gets_everybody_back"],
    ),
    Mutant(
        "who shares a relay with us is told only there that it is elsewhere",
        "there = sorted(peer.addresses, key=lambda one: one.relay.key in rather_not_at)",
        "there = peer.addresses",
        ["test_places.py::test_a_contact_at_the_same_relay_tells_by_way_of_the_fallback"],
    ),
    Mutant(
        "a relay whose clock was set back says nothing that counts",
        "issued = max(issued, before.issued + 1)  # whatever the clock says",
        "issued = int(now)",
        ["test_places.py::test_what_a_relay_signs_counts_though_its_clock_was_set_back"],
    ),
    Mutant(
        "whoever names a listed hop has its room",
        "if is_listed and is_introduced(word.hop, word.signature, to=self._own_key):",
        "if is_listed:",
        [
            "test_relay_turns.py::test_many_people_wait_through_a_hop_that_is_listed_and_a_stranger_as_before"
        ],
    ),
    Mutant(
        "any hop has the room of a listed one",
        "is_listed = word.hop in self._by",
        "is_listed = bool(self._by)",
        [
            "test_relay_turns.py::test_many_people_wait_through_a_hop_that_is_listed_and_a_stranger_as_before"
        ],
    ),
    Mutant(
        "a hop does not say which relay it is",
        "                link.introduce(wire.Introduce(0, self._own_key, signature))\n",
        "",
        [
            "test_relay_turns.py::test_many_people_wait_through_a_hop_that_is_listed_and_a_stranger_as_before"
        ],
    ),
    Mutant(
        "a relay carries out in the middle of the round what is for its end",
        "            self._writer.publish(writing)",
        "            self._writer.publish(writing)\n            self._writer.end_round()",
        ["test_hop.py::test_requests_of_a_round_are_seen_together_and_in_another_order"],
    ),
    Mutant(
        "a relay keeps in memory the sealing keys that it has destroyed",
        "        self._openers.clear()\n",
        "",
        [
            "test_relay_turns.py::test_a_key_that_a_relay_has_destroyed_opens_nothing_in_its_memory_either"
        ],
    ),
    Mutant(
        "a file that was paused on its way goes on to its end",
        "        going = f\"SELECT id FROM transfer WHERE phase = '{Phase.UNDER_WAY}'\"  # noqa: S608\n",
        '        going = "SELECT id FROM transfer"\n',
        ["test_files.py::test_a_transfer_that_is_paused_on_its_way_sends_no_more"],
    ),
    Mutant(
        "the window of a long line never grows beyond a cell at a time",
        "            fitting = max(fitting, self.window + LARGE_CELL)\n",
        "            fitting = self.window + LARGE_CELL // 4\n",
        ["test_fetching.py::test_a_long_line_is_full_after_a_few_round_trips"],
    ),
    Mutant(
        "a connection writes in its turn whatever waits",
        "                if taken >= BATCH_BYTES:\n",
        "                if False:\n",
        ["test_relay_turns.py::test_cells_that_land_in_a_drop_at_once_fit_into_one_answer"],
    ),
    Mutant(
        "what lands in a drop at once is sent as one answer, however long",
        "        if size > LIVE_BYTES:\n",
        "        if False:\n",
        ["test_relay_turns.py::test_cells_that_land_in_a_drop_at_once_fit_into_one_answer"],
    ),
    Mutant(
        "people's writes wait behind all that a mover asks for",
        "                for next_batch in (self._next_writes, self._next_steps):",
        "                for next_batch in [self._next_steps] * 300 + [self._next_writes]:",
        ["test_moving.py::test_nobody_waits_behind_all_that_a_mover_asks_for"],
    ),
    Mutant(
        "a mover asks for more at once than the destination takes",
        "limits.requests_in_flight // 2",
        "WINDOW",
        ["test_moving.py::test_a_destination_is_asked_no_more_at_once_than_it_takes"],
    ),
    Mutant(
        "a relay signs what ended at its start a moment later",
        "            await asyncio.sleep(EXPIRY_S - self._clock.now() % EXPIRY_S)\n",
        '            await self.writer.in_turns(self.ledger.seal(), "checkpoint")\n'
        "            await asyncio.sleep(EXPIRY_S - self._clock.now() % EXPIRY_S)\n",
        [
            "test_ledger_served.py::test_the_end_of_cells_while_a_relay_was_away_is_signed_on_the_hour"
        ],
    ),
    Mutant(
        "a page is as long as what is in it",
        "seal = Seal(key, least=wire.PAGE_CELLS)",
        "pass",
        ["test_hop.py::test_every_answer_to_a_page_is_as_long"],
    ),
    Mutant(
        "what is followed and not taken stops the whole connection",
        "                transport.disconnect(graceful=False)  # nor is one that sends more than it may\n",
        "                transport.disconnect(graceful=False)\n"
        "            if followed.came.qsize() > 7:\n"
        "                transport.underlying_transport.pause_reading()\n",
        ["test_flow.py::test_a_follower_who_takes_nothing_holds_up_nobody_else"],
    ),
    Mutant(
        "a request that is not answered ends the connection",
        '            asked.answer.set_exception(RelayUnreachable("no answer"))',
        "            self.close()",
        ["test_flow.py::test_a_request_that_is_not_answered_fails_alone"],
    ),
    Mutant(
        "a relay may send as much to a Follow as it likes",
        "        if self._is_over or (self.credit <= 0 and not is_last):",
        "        if self._is_over:",
        ["test_flow.py::test_a_relay_that_sends_more_than_it_has_credit_for_is_not_talked_to"],
    ),
    Mutant(
        "a Follow is never given more credit",
        "                if taken >= FOLLOW_BYTES // 2:",
        "                if taken >= 2 * FOLLOW_BYTES:",
        ["test_flow.py::test_a_follower_who_takes_all_is_sent_all_with_ever_new_credit"],
    ),
    Mutant(
        "a verb is in none of the tables by which the relay dispatches",
        "TELLINGS = (wire.Describe, wire.Consult, wire.Locate)",
        "TELLINGS = (wire.Describe, wire.Consult)",
        ["test_relay_server.py::test_every_verb_is_in_one_table_of_the_connection"],
    ),
    Mutant(
        "a relay sends to a Follow that has no credit",
        "        if reader.credit <= 0:\n",
        "        if False:\n",
        ["test_relay_server.py::test_a_follow_is_sent_no_more_than_its_credit_and_a_frame"],
    ),
    Mutant(
        "a word of every relay's settings counts as found when somebody says it",
        "    return [hit for hit in hits if hit[:2] not in own_words], len(short)",
        "    return hits, len(short)",
        ["test_search.py::test_what_an_unused_relay_writes_into_the_same_file_is_no_hit"],
    ),
    Mutant(
        "a word of a relay's settings is not found anywhere at it",
        "    return [hit for hit in hits if hit[:2] not in own_words], len(short)",
        "    return [hit for hit in hits if hit.text not in {own[0] for own in own_words}], len(short)",
        ["test_search.py::test_what_an_unused_relay_writes_into_the_same_file_is_no_hit"],
    ),
    Mutant(
        "a file is read on whatever others have put there",
        "        self._most = len(self._keys) + MAX_JUNK",
        "        self._most = 2**53",
        ["test_fetching.py::test_junk_without_end_is_not_read_without_end"],
    ),
    Mutant(
        "a chunk that is missing is waited for without end",
        "        if read.wait and not cells.cells:",
        "        if False:",
        ["test_fetching.py::test_a_chunk_that_is_missing_is_told"],
    ),
    Mutant(
        "a file is sent as fast as it can be written",
        "            if number and total > self.window:",
        "            if False:",
        ["test_fetching.py::test_no_more_is_under_way_than_the_line_takes_in_a_second"],
    ),
    Mutant(
        "the id of a request under way is used again",
        "            if number in self.asked:\n",
        "            if isinstance(request, wire.Unfollow) and number in self.asked:\n",
        ["test_relay_turns.py::test_a_hop_gets_no_answer_in_clear_by_asking_twice_under_one_id"],
    ),
    Mutant(
        "a sealed request is answered in clear",
        "wire.encode(reply) if asking.seal is None else asking.frame(reply)",
        "wire.encode(reply)",
        ["test_hop.py::test_every_sealed_verb_is_answered_through_the_hop"],
    ),
    Mutant(
        "a read that was taken back keeps its place",
        "        if asking.place is not None:\n            self._relay.leave(asking)\n",
        "",
        [
            "test_relay_turns.py::test_after_any_history_every_table_is_empty",
            "test_relay_turns.py::test_reads_that_are_taken_back_cost_the_next_reader_nothing",
        ],
    ),
    Mutant(
        "a text that comes when its epoch is long over is told as a fault",
        "        except TooOld:\n            return",
        '        except TooOld:\n            self.warn(unit, gid, TooOld.code, "")\n            return',
        [
            "test_gaps.py::test_text_that_comes_when_its_epoch_is_long_over_is_read_and_nobody_is_warned"
        ],
    ),
    Mutant(
        "an answer counts for whatever has the number of the request now",
        "            if not self._awaits(unit, row):\n",
        "            if False:\n",
        ["test_labels_taken.py::test_answer_to_a_request_that_was_taken_back_counts_for_no_other"],
    ),
    Mutant(
        "a connection does all it is asked before the next one's turn",
        "SPARE = 512\n",
        "SPARE = 2**62\n",
        [
            "test_relay_turns.py::test_a_client_that_asks_once_does_not_wait_behind_one_that_asks_much"
        ],
    ),
    Mutant(
        "a connection's writes are all carried out before the next one's",
        "TURN_WRITES = 100\n",
        "TURN_WRITES = 2**62\n",
        [
            "test_relay_turns.py::test_a_client_that_asks_once_does_not_wait_behind_one_that_asks_much"
        ],
    ),
    Mutant(
        "who goes ends what others at a hop wait for",
        "await asyncio.shield(destination.proving)",
        "await destination.proving",
        [
            "test_relay_turns.py::test_a_client_that_leaves_while_a_hop_connects_does_not_end_that_for_the_others"
        ],
    ),
    Mutant(
        "what nobody waits for any more waits on at the other relay",
        "isinstance(request, wire.Read | wire.Forward | wire.Sealed):",
        "isinstance(request, wire.Read):",
        [
            "test_relay_turns.py::test_a_request_that_nobody_waits_for_waits_at_no_other_relay_either"
        ],
    ),
    Mutant(
        "files take the room of messages",
        "            if not drop.bucket:\n",
        "            if False:\n",
        ["test_relay_drops.py::test_a_quarter_of_the_room_is_for_buckets_alone"],
    ),
    Mutant(
        "a process on a cluster never notices what others have erased",
        "            totals.correct(was, found)\n",
        "            pass\n",
        [
            "test_cluster_store.py::test_processes_agree_on_what_the_relay_holds_after_each_expiry",
        ],
    ),
    Mutant(
        "two processes each take the other for the lead of a drop",
        "                if _rank(drop_id, other) < _rank(drop_id, self._process):\n",
        "                if _rank(drop_id, other):\n",
        [
            "test_leads.py::test_of_two_processes_in_each_others_way_one_leads_and_each_leads_half",
        ],
    ),
    Mutant(
        "a drop leaves its lead while an append is on its way",
        "        self._forget(lambda lead, until: lead == process and until <= now)\n",
        "        self._forget(lambda lead, until: until <= now)\n",
        [
            "test_leads.py::test_a_lead_stays_while_an_append_is_on_its_way_and_then_until_its_time_is_over",
        ],
    ),
    Mutant(
        "a process passes on what was passed to it",
        " or writing.asker.is_deputy or writing.verdict:\n",
        " or writing.verdict:\n",
        ["test_leads.py::test_what_another_process_passed_on_is_never_passed_on_again"],
    ),
    Mutant(
        "appends that a lead did not make come back in any order",
        "            left = [*line.going, *line.waiting.writes]\n",
        "            left = [*line.waiting.writes, *line.going]\n",
        ["test_leads.py::test_appends_that_a_lead_does_not_make_come_back_in_their_order"],
    ),
    Mutant(
        "appends that somebody sends a second time are made at any time",
        "        return told.frames if abs(time.time() - told.at) <= FRESH_S else None\n",
        "        return told.frames\n",
        ["test_leads.py::test_only_a_process_of_the_relay_is_heard_and_only_at_once"],
    ),
    Mutant(
        "the drop of an epoch ends with its cells",
        "DROP_LIFE_DAYS = 180\n",
        "DROP_LIFE_DAYS = 30\n",
        ["test_away.py::test_nobody_blames_a_relay_after_a_long_silence"],
    ),
    Mutant(
        "a process on a cluster has its readers read what it has just landed",
        "                if process == self.processes.own:\n",
        "                if not process:\n",
        ["test_cluster.py::test_the_process_that_takes_a_cell_reads_it_for_no_follower"],
    ),
    Mutant(
        "other processes hear of the first drop of a batch alone",
        "            for start in range(0, len(body), NOTICE_BYTES):\n",
        "            for start in range(0, NOTICE_BYTES, NOTICE_BYTES):\n",
        ["test_cluster_store.py::test_another_process_hears_of_all_drops_of_a_batch"],
    ),
    Mutant(
        "readers wait for the cells of a batch of which a cluster made a part",
        "            if self._drops.waits:\n                # A cluster that stops answering",
        "            if not self._drops.waits:\n                # A cluster that stops answering",
        ["test_cluster.py::test_a_follower_gets_the_cells_that_landed_in_a_batch_that_failed"],
    ),
    Mutant(
        "a run of appends repeats a cell that has ended",
        "                if known[end - LABEL_BYTES : end] == label and number > ended:\n",
        "                if known[end - LABEL_BYTES : end] == label:\n",
        ["test_packed.py::test_labels_are_those_of_the_cells_that_are_left"],
    ),
    Mutant(
        "a process on a cluster looks at all drops in each hour",
        "        return looked != hour and hour % DAY_HOURS == shard * DAY_HOURS // self._layout.shards\n",
        "        return looked != hour\n",
        [
            "test_cluster_store.py::test_a_process_looks_once_a_day_at_a_drop_that_is_not_due",
        ],
    ),
    Mutant(
        "an expiry that failed forgets the drops that it had found",
        "        self._due = list(self._taken)\n",
        "        self._due = list(self._take(today))\n",
        [
            "test_cluster_store.py::test_an_expiry_that_fails_is_made_up_for_in_the_next_hour",
        ],
    ),
    Mutant(
        "a flood of creations takes the first ones of others",
        "            room -= self._most // FIRST_SHARE\n",
        "            room -= 0\n",
        [
            "test_rates.py::test_no_history_takes_the_first_creations_of_others",
            "test_relay_turns.py::test_a_flood_of_creations_stops_nobody_from_creating_a_few",
        ],
    ),
    Mutant(
        "a creation that other processes prevent counts again",
        "                    self._creations.give_back(client)\n",
        "                    pass\n",
        ["test_relay_drops.py::test_a_creation_that_other_processes_prevent_counts_once"],
    ),
    Mutant(
        "nobody counts the drops that clients create",
        "written = self._drops.write(writes, now=now, clients=clients)\n",
        "written = self._drops.write(writes, now=now)\n",
        ["test_relay_turns.py::test_a_flood_of_creations_stops_nobody_from_creating_a_few"],
    ),
    Mutant(
        "buckets wait once the day's bytes of files are served",
        "        if not drop.bucket and self._served.is_over(_day(now)):\n",
        "        if self._served.is_over(_day(now)):\n",
        ["test_relay_drops.py::test_messages_and_small_drops_are_served_whatever_files_took"],
    ),
    Mutant(
        "files that come while their readers wait do not count",
        "        self._count_files(told * file_bytes)\n",
        "        pass\n",
        [
            "test_relay_turns.py::test_what_readers_are_handed_of_files_counts_for_each_of_them_and_then_files_wait"
        ],
    ),
    Mutant(
        "cells that a move erases count on",
        "        self._stage_bytes(drop, -erased)\n",
        "        pass\n",
        ["test_bucket_bytes.py::test_a_bucket_that_moves_takes_its_bytes_along"],
    ),
    Mutant(
        "cells of buckets that expire count as theirs on",
        "        self._staged_bucket_bytes -= of_buckets\n",
        "        pass\n",
        ["test_relay_drops.py::test_the_whole_relay_holds_a_bounded_number_of_bytes"],
    ),
    Mutant(
        "buckets get a quarter whatever the operator says",
        "        return self.bytes_buckets_reserved or self.bytes_total // BUCKETS_SHARE\n",
        "        return self.bytes_total // BUCKETS_SHARE\n",
        [
            "test_relay_drops.py::test_the_operator_says_how_much_room_is_for_buckets_alone",
            "test_config.py::test_a_quarter_of_the_room_is_for_buckets_unless_the_operator_says_how_much",
        ],
    ),
    Mutant(
        "the newest is refused and not the greediest",
        "            if level >= self._top or not self._relieve(greediest):\n",
        "            if True:\n",
        [
            "test_relay_turns.py::test_the_greediest_is_refused_and_never_the_newest",
            "test_relay_turns.py::test_strangers_who_wait_for_cells_keep_nobody_from_waiting",
        ],
    ),
    Mutant(
        "who waits takes the places of who asks",
        "        self.waits = bool(self.patience) or isinstance(request, wire.Follow)\n",
        "        self.waits = False\n",
        ["test_relay_turns.py::test_strangers_who_wait_for_cells_keep_nobody_from_waiting"],
    ),
    Mutant(
        "junk is kept until the round ends",
        "            writing.verdict = self._drops.judge(request)\n",
        "            pass\n",
        [
            "test_relay_turns.py::test_a_cell_published_with_a_wrong_token_is_not_kept_and_refused_with_the_others"
        ],
    ),
    Mutant(
        "what a front was told counts as shown",
        "            await self._is_shown.wait()",
        "            pass",
        ["test_background.py::test_shown_waits_until_the_front_has_shown_everything"],
    ),
    Mutant(
        "the background of anybody is used",
        "bool(_CREDENTIALS.unpack(found)[1] == os.getuid())",
        "bool(found)",
        ["test_background.py::test_a_background_of_another_user_is_not_used"],
    ),
    Mutant(
        "a front that takes nothing is waited for for ever",
        "call_later(STALLED_S, self._writer.transport.abort)",
        "call_later(STALLED_S, bool)",
        ["test_background.py::test_front_that_never_takes_anything_is_given_up"],
    ),
    Mutant(
        "work goes on after its front has died",
        "            work.cancel()\n",
        "",
        ["test_background.py::test_work_is_broken_off_with_its_front_and_with_the_background"],
    ),
    Mutant(
        "a hop decides that a request is refused",
        'raise RelayUnreachable(f"through the hop: {error.code}") from None',
        "raise",
        ["test_routes.py::test_hop_cannot_make_a_client_give_up_a_message"],
    ),
    Mutant(
        "the home is asked directly when the hop is away",
        "relay not in [home.relay for home in self.homes[1:]]",
        "relay not in [home.relay for home in self.homes]",
        ["test_routes.py::test_while_the_hop_is_away_nothing_goes_another_way"],
    ),
    Mutant(
        "a return tells where its reader had left off",
        "start, wait = after - after % CURSOR_STEP, 0",
        "start, wait = after, 0",
        ["test_routes.py::test_what_a_relay_sees_of_a_return_is_a_multiple"],
    ),
    Mutant(
        "an answer without cells is shorter",
        "cells = max(least, ",
        "cells = max(0, ",
        ["test_hop.py::test_answer_without_a_cell_is_as_long_as_one_with_one"],
    ),
    Mutant(
        "an open hop goes to its own network",
        "if not may_be_private(place) and not all(map(is_public, ips)):",
        "if False:",
        ["test_hop.py::test_an_open_hop_knocks_at_no_door_of_its_own_network"],
    ),
    Mutant(
        "an address of nobody's is one of the public internet",
        "    if any(address in network for network in _NOBODYS):\n",
        "    if address in ():\n",
        ["test_hop.py::test_address_that_is_not_of_the_public_internet"],
    ),
    Mutant(
        "who speaks and does not hear is not told of",
        "return bool(sent_at >= before[1] + UNHEARD_MS)",
        "return False",
        ["test_gaps.py::test_a_peer_who_speaks_and_never_hears_us_is_noticed"],
    ),
    # The protocol of both sides
    Mutant(
        "digest of the last cell only",
        "hashlib.sha256(digest + cell)",
        "hashlib.sha256(cell)",
        ["test_protocol.py::test_the_digest_tells_what_was_appended_in_which_order"],
    ),
    Mutant(
        "drop of any region",
        "return len(drop_id) == DROP_ID_BYTES and hmac.compare_digest(tag, region_tag(region, nonce))",
        "return len(drop_id) == DROP_ID_BYTES",
        ["test_protocol.py::test_a_drop_belongs_to_the_region_it_was_made_for"],
    ),
    Mutant(
        "token hash the same in every drop",
        'hashlib.sha256(b"amanat token" + drop_id + token)',
        'hashlib.sha256(b"amanat token" + token)',
        ["test_protocol.py::test_a_token_has_another_hash_in_every_drop"],
    ),
    Mutant(
        "region not bound to a cell",
        "return region.encode() + drop_id + once.label",
        "return drop_id + once.label",
        ["test_protocol.py::test_a_cell_does_not_open_elsewhere_or_changed"],
    ),
    Mutant(
        "padding not checked",
        "if len(payload) != length or padding != bytes(len(padding)):",
        "if len(payload) != length:",
        ["test_protocol.py::test_padding_that_is_not_zeros_does_not_open"],
    ),
    Mutant(
        "second encoding accepted",
        "if _encoder.encode(value) != data:",
        "if not data:",
        ["test_wire.py::test_another_encoding_is_malformed"],
    ),
    Mutant(
        "chain that does not move on",
        'expand(chain, b"amanat chain cell"), expand(chain, b"amanat chain next")',
        'expand(chain, b"amanat chain cell"), chain',
        ["test_delivery.py::test_cell_shown_twice_is_taken_once"],
    ),
    Mutant(
        "chain without the pair's secret",
        'expand(epoch_secret, b"amanat chain salt", pair)',
        'expand(epoch_secret, b"amanat chain salt")',
        ["test_protocol.py::test_every_direction_and_lane_of_every_group_has_its_own_chain"],
    ),
    Mutant(
        "gap of a window without a bound",
        "while self.base in self.received or self.base < self.highest - MAX_GAP:",
        "while self.base in self.received:",
        ["test_protocol.py::test_a_sender_who_skips_cannot_make_a_window_grow"],
    ),
    Mutant(
        "safety number that depends on the side",
        "low, high = sorted((one, other))",
        "low, high = one, other",
        ["test_identity.py::test_both_sides_see_the_same_safety_number"],
    ),
    Mutant(
        "key of small order believed",
        'if int.from_bytes(identity, "little") & ~_SIGN_BIT in _SMALL_ORDER:',
        'if identity == b"":',
        ["test_identity.py::test_identity_that_anybody_could_sign_for_is_refused"],
    ),
    Mutant(
        "credential good for any device",
        'return b"amanat credential 2\\x00" + delivery + signer + generation.to_bytes(8, "big")',
        'return b"amanat credential 2\\x00" + delivery + generation.to_bytes(8, "big")',
        ["test_identity.py::test_credential_is_not_good_for_another_device"],
    ),
    Mutant(
        "generation that anybody can set",
        'return b"amanat credential 2\\x00" + delivery + signer + generation.to_bytes(8, "big")',
        'return b"amanat credential 2\\x00" + delivery + signer',
        ["test_identity.py::test_nobody_but_the_identity_sets_a_generation"],
    ),
    Mutant(
        "device of an earlier generation comes back",
        "    _judge_generations(people, [back.credential])\n",
        "",
        [
            "test_rights.py::test_device_comes_back_unless_its_generation_is_below_that_of_its_person"
        ],
    ),
    Mutant(
        "device of an earlier generation is added",
        "_judge_generations(people, [*added, *renewed])",
        "_judge_generations(people, renewed)",
        ["test_rights.py::test_device_of_an_earlier_generation_is_not_added"],
    ),
    Mutant(
        "leaf of an earlier generation is renewed",
        "_judge_generations(people, [*added, *renewed])",
        "_judge_generations(people, added)",
        ["test_rights.py::test_leaf_of_an_earlier_generation_is_not_renewed"],
    ),
    Mutant(
        "device keeps everybody below its own generation out",
        "return max((p.credential.generation for p in people if p.identity == identity), default=0)",
        "return max((p.credential.generation for p in people), default=0)",
        ["test_rights.py::test_highest_of_a_person_s_leaves_counts_and_nobody_else_s"],
    ),
    Mutant(
        "restored profile is of the same generation",
        "generation=old.generation + 1",
        "generation=old.generation",
        ["test_generation.py::test_restored_profile_locks_the_old_device_out_and_tells_it"],
    ),
    Mutant(
        "replaced device takes the restored one for a copy",
        "if back is not None and back.credential.generation > self._me.generation:",
        "if back is None and self._me.generation > 1:",
        ["test_generation.py::test_restored_profile_locks_the_old_device_out_and_tells_it"],
    ),
    Mutant(
        "replaced device fights to come back",
        "if rights.highest_generation(people, self._me.identity) <= self._me.generation:",
        "if people:",
        [
            "test_generation.py::test_old_device_that_was_asleep_is_told_by_those_whom_it_asks",
        ],
    ),
    Mutant(
        "restored profile and the one before it claim alike",
        'count = self._me.signer + generation.to_bytes(8, "big") + number.to_bytes(8, "big")',
        'count = self._me.signer + number.to_bytes(8, "big")',
        ["test_generation.py::test_restored_profile_locks_the_old_device_out_and_tells_it"],
    ),
    Mutant(
        "KeyPackage of an earlier generation used",
        "if person.credential.generation < self.newest_generation(person.identity):",
        "if not person.identity:",
        ["test_generation.py::test_key_packages_of_an_earlier_generation_are_no_longer_used"],
    ),
    Mutant(
        "members do not hear of a device that was kept out",
        'self._warnings.warn(unit, gid, error.code, "", whom=_committer(staged).identity)',
        "pass",
        ["test_generation.py::test_old_device_stays_out_though_it_lies_and_is_helped"],
    ),
    Mutant(
        "vault with a credential without a generation opened",
        "if schema.has_old_credential(db):",
        "if not version:",
        ["test_vault.py::test_vault_whose_credential_has_no_generation_is_left_alone"],
    ),
    Mutant(
        "descriptor of another key believed",
        "Ed25519PublicKey.from_public_bytes(key).verify(signature, _CONTEXT + body)",
        "len(signature)",
        ["test_protocol.py::test_a_descriptor_opens_with_the_key_that_signed_it"],
    ),
    Mutant(
        "frame of any size decoded",
        "if len(data) > MAX_REQUEST_BYTES",
        "if len(data) > 2**62",
        ["test_wire.py::test_a_frame_above_the_limit_is_not_looked_at"],
    ),
    # The relay
    Mutant(
        "anybody creates drops",
        "if not hmac.compare_digest(request.access, self._bucket_key):",
        "if not request.access:",
        ["test_relay_drops.py::test_only_people_with_access_create_drops"],
    ),
    Mutant(
        "relay takes drops of other regions",
        "if not any(in_region(request.drop_id, region) for region in regions):",
        "if not request.drop_id:",
        ["test_relay_drops.py::test_a_drop_of_another_region_is_refused"],
    ),
    Mutant(
        "token not compared",
        "return hmac.compare_digest(token_hash(drop_id, token), kept)",
        "return kept != _NO_HASH",
        [
            "test_relay_drops.py::test_no_such_drop_and_a_wrong_token_are_one_answer_for_the_same_work"
        ],
    ),
    Mutant(
        "other bytes under a label",
        "if stored is None or stored.cell != request.cell:",
        "if stored is None:",
        ["test_relay_drops.py::test_another_cell_under_a_label_is_refused"],
    ),
    Mutant(
        "a batch lands one label twice",
        "            or len(set(labels)) < len(labels)\n",
        "",
        ["test_relay_drops.py::test_a_batch_does_what_its_requests_do_one_by_one"],
    ),
    Mutant(
        "a batch does not ask whether the drop holds its labels",
        "            or self._store.holds(drop, labels)\n",
        "",
        ["test_relay_drops.py::test_a_batch_does_what_its_requests_do_one_by_one"],
    ),
    Mutant(
        "a run of cells counts as one",
        "self._full(drop, len(sizes), sum(sizes), now=now)",
        "self._full(drop, 1, sum(sizes), now=now)",
        [
            "test_relay_drops.py::test_of_cells_that_come_together_those_land_for_which_there_is_room"
        ],
    ),
    Mutant(
        "staged cells outlive their batch",
        "    def rollback(self) -> None:\n        self._forget_staged()\n",
        "    def rollback(self) -> None:\n",
        ["test_relay_drops.py::test_a_store_finds_staged_cells_and_forgets_them_with_the_batch"],
    ),
    Mutant(
        "a staged cell is not found by its label",
        "        if not recent.labels.isdisjoint(labels):\n",
        "        if False:\n",
        ["test_relay_drops.py::test_a_store_finds_staged_cells_and_forgets_them_with_the_batch"],
    ),
    Mutant(
        "the index of labels is not asked",
        "        if not recent.indexed:\n            return False\n",
        "        return False\n",
        ["test_relay_labels.py::test_the_index_takes_the_labels_of_a_drop_that_has_many"],
    ),
    Mutant(
        "labels stay in the index when their cells end",
        "        self._end_labels(number, last & SEQ_MASK)\n",
        "",
        ["test_relay_labels.py::test_labels_end_with_their_cells"],
    ),
    Mutant(
        "the labels of a batch that is lost are remembered",
        "        self._forget_labels()  # those of staged cells are among them\n",
        "",
        ["test_relay_labels.py::test_a_commit_that_fails_leaves_no_label"],
    ),
    Mutant(
        "labels of before are kept for a drop that a move fills",
        "            self._forget_recent(number)\n            drop = known[number]\n",
        "            drop = known[number]\n",
        ["test_relay_labels.py::test_a_source_that_moves_two_cells_with_one_label_harms_nobody"],
    ),
    Mutant(
        "the index takes few labels at once of a drop that has many",
        "max(INDEX_LABELS, drop.cells // INDEX_SHARE)",
        "INDEX_LABELS",
        ["test_relay_labels.py::test_the_index_takes_more_at_once_of_a_drop_that_has_more"],
    ),
    Mutant(
        "labels in memory have no limit",
        "while self._held > MOST_LABELS or len(self._recent) > MOST_DROPS:",
        "while False:",
        ["test_relay_labels.py::test_no_more_labels_are_kept_than_there_is_room_for"],
    ),
    Mutant(
        "all cells of a run rest under one nonce",
        "for cell, seq, nonce in zip(cells, itertools.count(first), nonces, strict=False)",
        "for cell, seq, nonce in zip(cells, itertools.count(first), [next(iter(nonces))] * len(cells), strict=False)",
        ["test_relay_store.py::test_no_two_cells_rest_under_one_nonce"],
    ),
    Mutant(
        "a file goes on at the pace of another connection",
        "self._paces.setdefault(way.line, {})",
        "self._paces.setdefault(self, {})",
        [
            "test_files.py::test_a_file_goes_on_at_the_pace_of_the_last_one_for_a_minute_on_one_connection"
        ],
    ),
    Mutant(
        "a pace counts for ever",
        "if kept is None or asyncio.get_running_loop().time() > kept.until:",
        "if kept is None:",
        [
            "test_files.py::test_a_file_goes_on_at_the_pace_of_the_last_one_for_a_minute_on_one_connection"
        ],
    ),
    Mutant(
        "rows point into a body that the power can still take",
        "                os.fdatasync(file)\n                if first == 0:\n",
        "                if first == 0:\n",
        ["test_bodies.py::test_dying_at_any_step_of_a_commit_loses_and_doubles_nothing"],
    ),
    Mutant(
        "the power takes the name of a new body",
        "                if first == 0:\n                    _sync(self._path)\n",
        "",
        ["test_bodies.py::test_dying_at_any_step_of_a_commit_loses_and_doubles_nothing"],
    ),
    Mutant(
        "a body ends while it has cells",
        "return row is None or row[0] > body.day",
        "return row is None or row[0] >= body.day",
        ["test_bodies.py::test_a_body_stays_until_its_last_cell_is_erased"],
    ),
    Mutant(
        "a body outlives its cells",
        "        self._end_bodies(ending)\n",
        "",
        ["test_bodies.py::test_a_body_ends_with_its_day_and_not_before"],
    ),
    Mutant(
        "a batch that failed stays in its bodies",
        "            self._bodies.cut(body, size)\n",
        "            pass\n",
        ["test_bodies.py::test_a_batch_that_fails_behind_its_bodies_leaves_nothing_in_them"],
    ),
    Mutant(
        "a body that a process left when it died stays for ever",
        "        self._end_bodies(self._bodies)\n",
        "",
        ["test_bodies.py::test_strays_are_told_and_gone_at_the_next_start"],
    ),
    Mutant(
        "one cell more than allowed",
        "drop.cells + cells > limits.cells_per_drop\n",
        "drop.cells + cells > limits.cells_per_drop + 1\n",
        [
            "test_relay_drops.py::test_a_full_drop_refuses_new_cells_until_midnight_but_knows_the_old_ones"
        ],
    ),
    Mutant(
        "clock set back orders cells anew",
        "day = max(drop.last_day, _day(now)) if drop.cells else _day(now)",
        "day = _day(now)",
        [
            "test_relay_drops.py::test_a_drop_expires_from_its_beginning_even_if_the_clock_was_set_back"
        ],
    ),
    Mutant(
        "retention a day too long",
        "since_day=_day(now) - drop.retention_days,",
        "since_day=_day(now) - drop.retention_days - 1,",
        ["test_relay_drops.py::test_a_cell_rests_for_its_retention_and_no_more_than_a_day_longer"],
    ),
    Mutant(
        "key of a failed batch used again",
        "def rollback(self) -> None:\n        self._wraps.clear()\n",
        "def rollback(self) -> None:\n",
        ["test_relay_store.py::test_a_batch_that_failed_leaves_nothing_behind"],
    ),
    Mutant(
        "retention a day too short",
        '"DELETE FROM shred_key WHERE last_day < ?"',
        '"DELETE FROM shred_key WHERE last_day <= ?"',
        ["test_relay_drops.py::test_a_cell_rests_for_its_retention_and_no_more_than_a_day_longer"],
    ),
    Mutant(
        "keys of what has ended are kept",
        '            self._keys.execute("DELETE FROM shred_key WHERE last_day < ?", (today,))',
        "            pass",
        ["test_relay_store.py::test_nothing_is_left_of_what_has_ended"],
    ),
    Mutant(
        "deleted bytes stay in the relay's file",
        '        "secure_delete = ON",\n',
        '        "secure_delete = OFF",\n',
        ["test_relay_store.py::test_nothing_is_left_of_what_has_ended"],
    ),
    Mutant(
        "relay answers before the disk has it",
        '        "synchronous = FULL",\n',
        '        "synchronous = OFF",\n',
        ["test_relay_store.py::test_answers_and_erasures_outlive_the_power"],
    ),
    Mutant(
        "cells before their keys",
        'for connection in (self._keys, self._writer):\n                if connection.in_transaction:\n                    connection.execute("COMMIT")',
        'for connection in (self._writer, self._keys):\n                if connection.in_transaction:\n                    connection.execute("COMMIT")',
        ["test_relay_drops.py::test_dying_at_any_statement_of_a_batch_loses_and_doubles_nothing"],
    ),
    Mutant(
        "a cell opens wherever it is put",
        "return _PLACE.pack(number, seq)",
        'return b""',
        ["test_relay_store.py::test_a_changed_or_moved_cell_is_noticed"],
    ),
    Mutant(
        "cells come by a move to the places of another drop",
        "part.before + len(part.cells) <= MOST_SEQ\n        and ",
        "",
        ["test_moving.py::test_a_source_that_lies_about_numbers_and_seqs_harms_no_other_drop"],
    ),
    Mutant(
        "cells that come by a move rest for as long as the source says",
        "key.last_day <= key.day + part.retention_days for",
        "key.day for",
        ["test_moving.py::test_a_source_that_has_cells_rest_for_longer_is_refused"],
    ),
    Mutant(
        "a drop has more cells than it can number",
        "            or drop.head + cells > MOST_SEQ\n",
        "",
        ["test_relay_store.py::test_a_drop_that_has_had_as_many_cells_as_it_can_number_is_full"],
    ),
    Mutant(
        "what has been erased still counts after a restart",
        "        self._staged_bytes -= erased\n",
        "",
        ["test_relay_store.py::test_how_much_is_held_is_known_without_counting"],
    ),
    Mutant(
        "a store has more drops than it can number",
        "if last + len(drops) > MOST_NUMBER:",
        "if not drops:",
        [
            "test_relay_store.py::test_a_store_that_has_numbered_all_drops_refuses_new_ones_and_keeps_the_others"
        ],
    ),
    Mutant(
        "drop goes that is not frozen",
        "if drop_id not in self._drops.frozen:",
        "if not drop_id:",
        ["test_moving.py::test_a_drop_goes_only_when_frozen_and_lands_only_as_it_was"],
    ),
    Mutant(
        "drop lands whatever came",
        "if (drop.head, drop.digest) != (told.head, told.digest) or drop.cells < told.cells:",
        "if drop.cells < told.cells:",
        ["test_moving.py::test_a_drop_goes_only_when_frozen_and_lands_only_as_it_was"],
    ),
    Mutant(
        "cells that came before the lost ones are kept",
        "if part.is_first and part.before > drop.head:",
        "if part.before > drop.head:",
        ["test_moving.py::test_cells_that_ended_at_the_source_meanwhile_end_at_the_destination"],
    ),
    Mutant(
        "a scrub rebuilds a replica while another one of its stream is bad",
        "        return streams.count(one.stream) == 1\n",
        "        return streams.count(one.stream) >= 1\n",
        ["test_cluster_scrub.py::test_no_replica_is_rebuilt_while_another_of_its_stream_is_bad"],
    ),
    Mutant(
        "two scrubs of one cluster go on at once",
        "            raise ScrubUnderWay\n",
        "            pass\n",
        ["test_cluster_scrub.py::test_of_two_scrubs_one_goes_on"],
    ),
    Mutant(
        "a message that all replicas have lost passes unnoticed",
        "        if message.before not in (0, last, *known):\n",
        "        if message.before not in (0, last, *known) and message.before > message.place:\n",
        [
            "test_cluster_scrub.py::test_a_message_that_all_have_lost_is_a_gap_and_one_that_was_purged_is_none"
        ],
    ),
    Mutant(
        "an audit does not look for roots in a relay's other directories",
        "for path in (self._directory.path, *self._keepers):\n            yield from",
        "for path in (self._directory.path,):\n            yield from",
        ["test_cluster_audit.py::test_what_does_not_belong_beside_the_drops_is_found"],
    ),
    Mutant(
        "an audit ends at a stream that is not as it must be",
        "            if self.creates:\n                prepare(engine, layout)\n",
        "            prepare(engine, layout)\n",
        ["test_cluster_audit.py::test_what_does_not_belong_beside_the_drops_is_found"],
    ),
    Mutant(
        "a relay that starts asks its cluster once",
        "            if not left:\n                raise ClusterUnready",
        "            if left:\n                raise ClusterUnready",
        ["test_cluster_start.py::test_a_relay_waits_for_a_cluster_that_is_not_ready"],
    ),
    Mutant(
        "buckets for which a batch had no room are forgotten",
        "            idle = idle + 1 if len(left) == len(buckets) else 0\n",
        "            return\n",
        [
            "test_cluster_start.py::test_all_buckets_are_created_although_a_journal_takes_only_some_at_once"
        ],
    ),
    Mutant(
        "a relay starts on streams of another format",
        '    if written != wanted["amanat_format"]:\n',
        "    if not written:\n",
        ["test_cluster_check.py::test_a_relay_does_not_start_on_streams_of_another_format"],
    ),
    Mutant(
        "keys of what has gone are kept",
        "self._store.shred_drops(gone)",
        "pass",
        ["test_audit.py::test_both_relays_of_a_move_are_in_order_before_within_and_after_it"],
    ),
    Mutant(
        "anybody's drops are taken in",
        "or order.source not in self._accepts",
        "or not order.source",
        ["test_moving.py::test_a_relay_that_is_not_the_source_moves_nothing"],
    ),
    Mutant(
        "source takes cells for what has gone",
        "if drop.state == GONE:",
        "if drop.state == GONE and not drop.drop_id:",
        ["test_moving.py::test_all_drops_move_and_nothing_is_left"],
    ),
    Mutant(
        "move before its day",
        "or now < notice.on * DAY_S",
        "or now < 0",
        ["test_moving.py::test_nothing_moves_before_its_day_and_people_are_told"],
    ),
    Mutant(
        "client follows anywhere",
        "if not self._allows(relay, to.region):\n            raise",
        "if not to.region:\n            raise",
        ["test_moved_people.py::test_a_person_who_does_not_allow_it_holds_and_can_leave"],
    ),
    Mutant(
        "created drop is not entered",
        "        self._store.note(Created(drop_hash(drop.drop_id), hour_of(now)))\n",
        "",
        ["test_ledger.py::test_a_drop_s_life_is_entered_by_the_hour"],
    ),
    Mutant(
        "erased cells are forgotten where an expiry stops half way",
        '" ended_cells = ended_cells + ?1, ended_bytes = ended_bytes + ?2"',
        '" ended_cells = ?1, ended_bytes = ?2"',
        ["test_ledger.py::test_an_end_in_many_steps_is_one_entry"],
    ),
    Mutant(
        "entry in a commit of its own",
        "            for drop_id, state in ended:",
        "            self.commit()\n            for drop_id, state in ended:",
        ["test_relay_drops.py::test_dying_at_any_statement_of_an_end_agrees_with_the_ledger"],
    ),
    Mutant(
        "ledger is signed whatever was signed before",
        "if size < before.size or tlog.root(before.size, node) != before.root:",
        "if size < before.size:",
        [
            "test_ledger.py::test_a_changed_entry_is_found_by_its_relay_and_by_people_who_know_a_checkpoint"
        ],
    ),
    Mutant(
        "entries are shown before they are signed",
        "if tile.width > tlog.tile_at(tile.level, tile.number, checkpoint.size).width:",
        "if tile.width > tlog.tile_at(tile.level, tile.number, 2**50).width:",
        ["test_ledger.py::test_nothing_is_shown_before_it_is_signed"],
    ),
    Mutant(
        "shorter ledger is taken for a longer one",
        "return not last and before == old_root and after == new_root",
        "return not last and after == new_root",
        ["test_tlog.py::test_no_other_log_is_taken_for_a_longer_one"],
    ),
    # The rights in a group
    Mutant(
        "anybody removes",
        "free = person.identity == committer or is_leaving(person, leaves, group=group)",
        "free = True",
        ["test_rights.py::test_what_a_member_may"],
    ),
    Mutant(
        "anybody makes admins",
        "or (administered != renamed and not may(before, people, committer, Deed.ADMINISTER))",
        "or False",
        ["test_rights.py::test_what_a_member_may"],
    ),
    Mutant(
        "members make admins by asking them in",
        "return policy.may_add == Who.MEMBERS and safe",
        "return policy.may_add == Who.MEMBERS",
        ["test_rights.py::test_member_who_may_add_makes_no_admins"],
    ),
    Mutant(
        "a group one larger than allowed",
        "if len(people) + len(added) - len(commit.removes) > most:",
        "if len(people) + len(added) - len(commit.removes) > most + 1:",
        ["test_rights.py::test_group_stays_within_its_size"],
    ),
    Mutant(
        "old wish to leave used again",
        "text = leave_text(group, person.leaf.nonce)\n    for wish in leaves:\n        if wish.identity == person.identity and wish.nonce == person.leaf.nonce:",
        "for wish in leaves:\n        text = leave_text(group, wish.nonce)\n        if wish.identity == person.identity:",
        ["test_rights.py::test_leave_statement_of_an_earlier_membership_is_worth_nothing"],
    ),
    Mutant(
        "somebody else comes in again",
        "or [person.identity for person in gone] != [back.identity]",
        "or False",
        ["test_rights.py::test_coming_in_again_changes_nothing_else"],
    ),
    # Labels, chains and cursors
    Mutant(
        "digest of a drop not checked",
        "elif cells.first == seq + 1 and cells.before != digest:",
        'elif cells.before == b"":',
        ["test_delivery.py::test_a_lie_about_cells_that_were_read_is_told_and_costs_nothing"],
    ),
    Mutant(
        "others' digests not compared",
        "return ours is not None and ours != seen.digest",
        "return False",
        ["test_gaps.py::test_forgotten_cell_is_told_as_a_lie_of_the_relay"],
    ),
    Mutant(
        "what others were told without a bound",
        "(drop_id, seen.seq, seen.digest, MAX_HEARSAY),",
        "(drop_id, seen.seq, seen.digest, 2**62),",
        ["test_members.py::test_claims_of_others_about_our_drops_are_kept_in_bounds"],
    ),
    Mutant(
        "cursor moved though the unit failed",
        "before_commit=self._write_cursors, after_commit=self._wrote, forget=self._taken.clear",
        "before_commit=self._write_cursors, after_commit=self._wrote",
        ["test_client_api.py::test_what_could_not_be_kept_is_read_once_more_and_not_asked_for"],
    ),
    Mutant(
        "label window not kept",
        "json.dumps(sorted(window.received)),",
        '"[]",',
        ["test_delivery.py::test_cell_shown_again_after_a_restart_is_passed_over"],
    ),
    Mutant(
        "label taken stays expected",
        "            for label in self._labels_of(secrets_gone[position]):\n                labels.pop(label, None)",
        "            secrets_gone.pop(position)",
        ["test_delivery.py::test_cell_shown_twice_is_taken_once"],
    ),
    Mutant(
        "one-time label used again",
        "            (after, gid, to.identity, lane_of(kind)),",
        "            (row[0], gid, to.identity, lane_of(kind)),",
        ["test_client_api.py::test_relay_sees_three_sizes_and_no_label_twice"],
    ),
    Mutant(
        "chains outlive a membership",
        '            db.execute("DELETE FROM chain_in WHERE gid = ? AND signer = ?", (gid, signer))',
        "            pass",
        ["test_delivery.py::test_chains_end_with_a_membership_and_begin_anew_with_the_next"],
    ),
    Mutant(
        "chains go on through refreshes",
        "        for identity in identities if self._me.identity in renewed else identities & renewed:",
        "        for identity in set[bytes]():",
        [
            "test_drill.py::test_a_thief_of_a_vault_reads_until_its_keys_are_refreshed_and_no_longer",
            "test_chains.py::test_chain_begins_anew_when_either_end_renews_its_keys_and_else_goes_on",
        ],
    ),
    Mutant(
        "chains begin anew at one end",
        "identities if self._me.identity in renewed else identities & renewed:",
        "identities & renewed:",
        ["test_chains.py::test_every_word_arrives_no_matter_who_renews_their_keys_and_when"],
    ),
    Mutant(
        "what was under way by a chain that ended is not looked for",
        "KEPT_PAST = 8\n",
        "KEPT_PAST = 0\n",
        ["test_chains.py::test_cells_under_way_when_a_chain_ends_are_read_for_two_weeks"],
    ),
    Mutant(
        "chains that have ended stay",
        '"DELETE FROM chain_in WHERE ended_at < ? RETURNING gid", (unit.now - PAST_MS,)',
        '"DELETE FROM chain_in WHERE ended_at < ? RETURNING gid", (0,)',
        ["test_chains.py::test_cells_under_way_when_a_chain_ends_are_read_for_two_weeks"],
    ),
    Mutant(
        "a notice of any kind of cell is followed",
        "        may_be_held = kind is not None and CELL_KINDS[kind].may_be_held\n",
        "        may_be_held = kind is not None\n",
        ["test_holding.py::test_a_notice_of_anything_else_is_refused"],
    ),
    Mutant(
        "a vault is opened by a key where its file names no way",
        '        lock = _Lock(settings["unlock"])\n',
        '        lock = _Lock.KEY if settings["unlock"] not in set(_Lock) else _Lock(settings["unlock"])\n',
        ["test_vault.py::test_broken_unlock_file_is_named"],
    ),
    Mutant(
        "nobody reads the drops of epochs",
        "            case State.ACTIVE | State.LEAVING | State.ASTRAY:\n                return True",
        "            case State.ACTIVE | State.LEAVING | State.ASTRAY:\n                return False",
        ["test_words_in_sql.py::test_statements_that_name_several_states_mean_what_the_states_say"],
    ),
    Mutant(
        "a repair by a chain that has ended is believed",
        "        if is_past and kind is not None and not CELL_KINDS[kind].counts_late:",
        "        if False:",
        ["test_chains.py::test_nothing_that_rests_on_a_chain_from_before_is_believed"],
    ),
    Mutant(
        "words are taken by the lane of calls",
        "                if chain.lane != lane_of(pair_cell.kind):",
        "                if False:",
        ["test_chains.py::test_nothing_that_rests_on_a_chain_from_before_is_believed"],
    ),
    Mutant(
        "calls begin anew like words",
        "record=None, lane=Lane.CALLS,",
        "record=None, lane=Lane.WORDS,",
        ["test_chains.py::test_two_who_were_shown_different_commits_hear_each_other_again"],
    ),
    Mutant(
        "who does not confirm is not called",
        "                self._call_silent(unit, gid)",
        "                pass",
        ["test_chains.py::test_two_who_were_shown_different_commits_hear_each_other_again"],
    ),
    Mutant(
        "what came before a chain was known is not looked for",
        "                self._cursors.read_again(unit, sure)",
        "                pass",
        ["test_chains.py::test_a_cell_that_comes_before_its_reader_has_read_the_commit_is_found"],
    ),
    Mutant(
        "a relay is asked again for what was read lately",
        "        if recent is None or after < recent.since:",
        "        if recent is None or recent.since >= 0:",
        ["test_chains.py::test_a_cell_that_comes_before_its_reader_has_read_the_commit_is_found"],
    ),
    Mutant(
        "outbox row gone when the relay is away",
        "                continue  # not answered: it goes out again over the next link",
        '                unit.db.execute("DELETE FROM outbox WHERE id = ?", (row.id,))\n                continue',
        ["test_world.py::test_all_agree_and_nothing_is_lost_or_doubled"],
    ),
    Mutant(
        "words go ahead of the Welcome",
        "    \" WHERE reply.purpose = 'reply' AND reply.about = row.about))\"",
        "    \" WHERE reply.purpose = 'never' AND reply.about = row.about))\"",
        ["test_conversation.py::test_nothing_goes_ahead_of_a_welcome_that_a_relay_puts_off"],
    ),
    # Gaps
    Mutant(
        "hash of the one before not checked",
        'is_whole = is_whole and (b"" in (last, found[0]) or last == found[0])',
        "is_whole = is_whole and bool(found)",
        ["test_members.py::test_envelopes_that_do_not_hang_together_are_told"],
    ),
    Mutant(
        "two members who heard two things",
        'return identity if seq == upto and last[:8] not in (b"", digest) else None',
        "return None",
        ["test_members.py::test_members_who_heard_two_things_under_one_number_are_told"],
    ),
    Mutant(
        "heartbeat never sent",
        "        return bool(is_open)",
        "        return False",
        ["test_gaps.py::test_last_message_that_is_lost_is_noticed_by_a_heartbeat_and_repaired"],
    ),
    Mutant(
        "forgotten when the first has confirmed",
        "        upto = min(self._sent.has_come(gid, self._roster.devices(gid)), default=0)",
        "        upto = max(self._sent.has_come(gid, self._roster.devices(gid)), default=0)",
        ["test_gaps.py::test_nothing_stays_lost_where_a_relay_forgets_some_of_all"],
    ),
    Mutant(
        "gap without a bound",
        "is_lost = count > MAX_AHEAD",
        "is_lost = False",
        ["test_members.py::test_gap_that_grows_too_long_is_told_as_lost"],
    ),
    # Conversations
    Mutant(
        "Commit merged before it was read back",
        "if len(group.people) == 1:\n            self._won(unit, gid)",
        "if group.people:\n            self._won(unit, gid)",
        ["test_world.py::test_commits_at_once_all_come_true"],
    ),
    Mutant(
        "Commit not judged",
        "        except InvalidCommit:\n            return False",
        "        except InvalidCommit:\n            pass",
        ["test_delivery.py::test_junk_in_an_epoch_drop_is_passed_over_alike"],
    ),
    Mutant(
        "Commit by a pair chain counts",
        "            self._engine.reject(received.handle)  # Commits count in the epoch drop only\n",
        "            self._engine.accept(received.handle)\n",
        ["test_members.py::test_commit_that_comes_by_a_bucket_changes_nothing"],
    ),
    Mutant(
        "repair for who came later",
        "if came[0] < seq <= sent_seq",
        "if seq <= sent_seq",
        ["test_gaps.py::test_a_later_member_is_not_told_the_texts_from_before"],
    ),
    Mutant(
        "repairs without a bound",
        "for answer in answers[: MAX_REPAIRS - count]:",
        "for answer in answers:",
        ["test_members.py::test_asking_for_more_gets_no_more_than_is_allowed"],
    ),
    Mutant(
        "invite that was withdrawn is answered",
        '        unit.db.execute("DELETE FROM invite WHERE secret = ?", (secret,))\n        self._chains.expect_no_more(secret)\n',
        '        unit.db.execute("UPDATE invite SET made_at = 0 WHERE secret = ?", (secret,))\n',
        ["test_invite.py::test_invites_are_listed_and_one_can_be_withdrawn"],
    ),
    Mutant(
        "invite that has expired is answered",
        "(expires_at > ? OR sealed != x'')",
        "(expires_at > 0 * ? OR sealed != x'')",
        ["test_invite.py::test_invite_that_has_expired_is_not_answered_before_it_is_cleared_away"],
    ),
    Mutant(
        "visitor who is let in without a question",
        "        if not is_late and self._is_asked_about(them.identity):\n",
        "        if is_late and self._is_asked_about(them.identity):\n",
        ["test_visitors.py::test_visitor_is_told_nothing_until_they_are_let_in_and_then_they_talk"],
    ),
    Mutant(
        "person who is asked about somebody on whom they have knocked",
        "            and not self._is_knocked_on(identity)\n",
        "",
        ["test_visitors.py::test_nobody_is_asked_about_those_on_whom_they_have_knocked"],
    ),
    Mutant(
        "visitor who waits longer than their KeyPackage is good",
        "        until = min(expires_at + REPLY_MS, 1000 * until_s)\n",
        "        until = max(expires_at + REPLY_MS, 1000 * until_s)\n",
        ["test_visitors.py::test_nobody_waits_longer_than_their_key_package_is_good"],
    ),
    Mutant(
        "visitor who is let in after they have gone",
        'until FROM visitor WHERE until > ?"',
        'until FROM visitor WHERE until > 0 * ?"',
        ["test_visitors.py::test_visitor_who_is_not_answered_goes_and_nothing_is_said"],
    ),
    Mutant(
        "visitor whom a clock set back keeps out",
        "now=visitor.knocked_at)",
        "now=unit.now)",
        ["test_visitors.py::test_visitor_is_let_in_though_the_clock_was_set_back"],
    ),
    Mutant(
        "visitor who is a contact and waits all the same",
        'They wait for no answer any more."""\n        self.visitors.forget(unit, identity)\n',
        'They wait for no answer any more."""\n',
        ["test_visitors.py::test_to_knock_on_a_visitor_is_to_meet_them"],
    ),
    Mutant(
        "visitor who slips into the name of a contact",
        "self._naming.called_once_met(one.identity, knock.name),",
        "knock.name,",
        ["test_visitors.py::test_name_and_greeting_of_a_visitor_pretend_nothing"],
    ),
    Mutant(
        "visitor who had been blocked and is shown as anybody",
        "                    self._history.is_blocked(one.identity),\n                    one.knocked_at,\n",
        "                    False,\n                    one.knocked_at,\n",
        ["test_visitors.py::test_person_is_told_that_a_visitor_is_one_whom_they_had_blocked"],
    ),
    Mutant(
        "knock that was put aside is never answered",
        "is_late=True",
        "is_late=False",
        ["test_invite.py::test_both_knock_and_one_invite_has_ended_and_they_meet_all_the_same"],
    ),
    Mutant(
        "two who answer each other are in two conversations",
        "            and self._me.identity < identity\n",
        "",
        ["test_invite.py::test_both_answer_and_are_in_one_conversation"],
    ),
    Mutant(
        "knock that a relay has forgotten is not repeated",
        "        self._repeats.keep(unit, Purpose.KNOCK, reply_secret, [Purpose.KNOCK])\n",
        "",
        ["test_repeats.py::test_first_words_that_a_relay_forgets_are_appended_again"],
    ),
    Mutant(
        "answer to a knock that a relay has forgotten is not repeated",
        "        self._repeats.keep(unit, Purpose.REPLY, gid, [Purpose.REPLY], people=people)\n",
        "",
        ["test_repeats.py::test_first_words_that_a_relay_forgets_are_appended_again"],
    ),
    Mutant(
        "piece of a Welcome that a relay has forgotten is not repeated",
        "head >= row[1] and",
        "",
        ["test_repeats.py::test_piece_of_a_welcome_that_a_relay_forgets_is_appended_again"],
    ),
    Mutant(
        "what lets people in is repeated when they have come",
        "            self._repeats.has_come(unit, given.joined, sender)\n",
        "            pass\n",
        ["test_repeats.py::test_nothing_is_appended_again_once_all_have_come"],
    ),
    Mutant(
        "whole file is repeated",
        "Purpose.CREATE if kind == Purpose.FILE else Purpose(kind)",
        "Purpose(kind)",
        ["test_repeats.py::test_a_file_that_is_whole_is_not_sent_again_to_people_who_are_away"],
    ),
    Mutant(
        "knock is repeated for ever",
        "if not is_awaited or tries >= MAX_TRIES or unit.now >= kept_at + LIFE_MS:",
        "if not is_awaited:",
        [
            "test_repeats.py::test_a_knock_is_sent_so_often_for_a_person_who_never_comes_and_then_no_longer"
        ],
    ),
    Mutant(
        "who wants to be asked is in the group at once",
        "if self._offers.adds is ASK:",
        "if not sender:",
        [
            "test_offers.py::test_a_person_who_is_asked_is_in_no_group_and_answers_nothing_before_they_say_yes"
        ],
    ),
    Mutant(
        "who has said no stays in the group",
        "            self._schedule_leave(unit, no.group, wish)",
        "            pass",
        ["test_offers.py::test_a_person_who_says_no_is_taken_out_and_has_joined_nothing"],
    ),
    Mutant(
        "who leaves and blocks only leaves",
        "        self.leave(unit, gid)\n        self.block(unit, by)",
        "        self.leave(unit, gid)",
        ["test_offers.py::test_one_step_leaves_a_group_and_blocks_the_person_who_added_us"],
    ),
    Mutant(
        "who is declined and blocked is told",
        "                self._conversations.wishes.block(unit, found.by)\n",
        "                self._conversations.joining.decline_offer(unit, found.gid, found.by)\n                self._conversations.wishes.block(unit, found.by)\n",
        [
            "test_offers.py::test_a_contact_who_is_declined_and_blocked_is_told_nothing_and_asks_in_vain"
        ],
    ),
    Mutant(
        "offers of one contact without a bound",
        "if count >= MAX_OFFERS:",
        "if count < 0:",
        ["test_offers.py::test_offers_of_one_contact_are_bounded_and_take_nobody_elses_place"],
    ),
    Mutant(
        "nobody is told that a word waits",
        'if client.chat(gid).view().state == "astray":',
        "if not gid:",
        ["test_cli.py::test_a_text_said_out_of_step_is_kept_and_the_person_told"],
    ),
    Mutant(
        "text said out of step is refused",
        "        if self._roster.state(gid) not in (State.ASTRAY, State.NOTES):\n",
        "        if self._roster.state(gid) is not State.NOTES:\n",
        ["test_cli.py::test_a_text_said_out_of_step_is_kept_and_the_person_told"],
    ),
    Mutant(
        "text that was deleted is told as lost",
        "deleted=None if said else self._history.deleted(gid, seq),",
        "deleted=None,",
        [
            "test_gaps.py::test_a_deleted_message_is_shown_so_however_late_it_is_asked_for",
            "test_gaps.py::test_a_message_taken_away_before_it_came_is_not_told_as_lost",
        ],
    ),
    Mutant(
        "words of a deleted text stay in what was said again",
        "return self._about(decode_envelope(again.envelope)) if again.envelope else None",
        "return None",
        ["test_gaps.py::test_no_word_of_a_deleted_text_is_kept_to_be_said_again"],
    ),
    Mutant(
        "a list tells texts as unread that were read",
        "    UPDATE tally SET unread = unread - (\n        SELECT count(*) FROM message",
        "    UPDATE tally SET unread = unread - (\n        SELECT 0 * count(*) FROM message",
        [
            "test_transcript.py::test_after_any_history_a_line_tells_as_many_unread_as_counting_finds",
            "test_transcript.py::test_a_list_shows_the_last_message_and_what_is_unread",
        ],
    ),
    Mutant(
        "what was read is unread after coming in again",
        '" RETURNING clock, read_row, hidden, sent_seq"',
        '" RETURNING clock, 0, hidden, sent_seq"',
        ["test_history.py::test_texts_stay_read_when_one_is_let_in_again"],
    ),
    Mutant(
        "what waits for somebody stays for their old relay",
        "            self._outbox.send_after(unit, sender, new.addresses)\n",
        "            pass\n",
        ["test_exit.py::test_exit_from_a_dead_relay_every_contact_is_back_within_a_heartbeat"],
    ),
    Mutant(
        "old bucket forgotten while somebody may write to it",
        "age >= least and not is_open and home",
        "age >= least and home",
        ["test_exit.py::test_old_bucket_is_forgotten_once_all_know_and_no_cell_can_rest_there"],
    ),
    Mutant(
        "old bucket forgotten while cells may rest in it",
        "if age >= most or (age >= least and not",
        "if age >= most or (not",
        ["test_exit.py::test_old_bucket_is_kept_while_cells_may_rest_in_it"],
    ),
    Mutant(
        "addresses told once and never again",
        "            if is_telling:\n                self._addresses.tell(unit, gid, is_again=True)\n            else:\n                self._saying.say(unit, ",
        "            if True:\n                self._saying.say(unit, ",
        [
            "test_exit.py::test_a_contact_who_comes_back_after_everything_expired_is_told_by_a_heartbeat"
        ],
    ),
    Mutant(
        "newcomers believe an old leaf",
        "            if begun.is_first and self._addresses.has_new_addresses_since(group):",
        "            if False:",
        ["test_exit.py::test_newcomers_of_a_group_are_told_where_we_are_though_our_leaf_is_old"],
    ),
    Mutant(
        "home and fallback in two regions",
        "if is_strict and len(set(regions.values())) > 1:",
        "if is_strict and len(set(regions.values())) > 2:",
        ["test_exit.py::test_strict_person_has_home_and_fallback_in_one_region"],
    ),
    Mutant(
        "a member says where a group is",
        "        or not (placed == administered or is_along or may(before, people, committer, Deed.PLACE))\n",
        "",
        ["test_rights.py::test_what_a_member_may"],
    ),
    Mutant(
        "a group stays where nobody can make its drops",
        "    if policy.relay.key in relays:\n        return policy\n",
        "    return policy\n",
        [
            "test_exit.py::test_a_group_is_taken_along_by_the_commit_that_lets_the_last_person_there_go"
        ],
    ),
    Mutant(
        "a group is taken along from people who are there",
        "    if policy.relay.key in relays:\n        return policy\n",
        "    if policy.relay.key == home.relay.key:\n        return policy\n",
        ["test_rights.py::test_nobody_but_an_admin_takes_a_group_along_where_somebody_remains"],
    ),
    Mutant(
        "a leaf that says where its person was",
        "        leaf = self._addresses.new_leaf(group)\n",
        "        leaf = None\n",
        ["test_exit.py::test_each_of_two_who_move_away_one_after_the_other_is_known_to_be_gone"],
    ),
    Mutant(
        "help that nobody judges",
        "            judge(lineage, commit)\n            lineage.accept()\n",
        "            lineage.read(commit)\n            lineage.accept()\n",
        ["test_lineage.py::test_no_way_is_gone_on_which_somebody_did_what_they_may_not"],
    ),
    Mutant(
        "help that ends elsewhere",
        "        if lineage.view().state != end.state:\n            raise InvalidMessage\n",
        "",
        ["test_lineage.py::test_help_that_does_not_hold_changes_nothing"],
    ),
    Mutant(
        "anybody vouches for a group",
        "            if not is_far or signer not in vouching - {self._me.identity}:\n",
        "            if not is_far:\n",
        ["test_lineage.py::test_where_nobody_vouches_the_person_looks_and_decides"],
    ),
    Mutant(
        "an admin's word is enough where everybody could show a lineage",
        "            if not is_far or signer not in vouching - {self._me.identity}:\n",
        "            if signer not in vouching - {self._me.identity}:\n",
        [
            "test_lineage.py::test_an_admin_who_was_put_down_is_not_believed_about_what_others_could_show",
        ],
    ),
    Mutant(
        "an admin's word is believed before everybody was asked",
        "        if not rest and self._take_vouched(unit, gid):\n",
        "        if self._take_vouched(unit, gid):\n",
        [
            "test_lineage.py::test_an_admin_who_was_put_down_vouches_for_nothing_while_others_can_be_asked",
        ],
    ),
    Mutant(
        "help without an end",
        "ANSWERS = 12\n",
        "ANSWERS = 2**30\n",
        ["test_lineage.py::test_a_contact_is_answered_so_often_and_no_more"],
    ),
    Mutant(
        "a member says where the group is",
        "        if self._roster.state_of(gid, cell.epoch.number) not in (None, cell.epoch.state):\n            self._astray.doubt(unit, gid, who)\n",
        "        if self._roster.state_of(gid, cell.epoch.number) not in (None, cell.epoch.state):\n            self._astray.go_astray(unit, gid, RelayLied.code, is_restart=False)\n",
        [
            "test_lineage.py::test_a_claim_to_be_elsewhere_costs_a_question_and_accuses_nobody",
        ],
    ),
    Mutant(
        "a Commit that was handed over needs no drop",
        "                (gid, number, commit),\n            )\n        self._roster.look_soon(unit, gid, at=unit.now)\n",
        "                (gid, number, commit),\n            )\n            self._commits._judge(unit, gid, commit, is_read=False)\n",
        [
            "test_lineage.py::test_a_commit_that_is_handed_over_does_not_overtake_what_is_in_the_drop"
        ],
    ),
    Mutant(
        "what the drop says later is not looked at",
        "        elif step is not None and not step.is_read:\n",
        "        elif False:\n",
        [
            "test_lineage.py::test_what_was_gone_on_by_while_the_relay_was_away_gives_way_to_its_drop",
        ],
    ),
    Mutant(
        "a relay is accused by a member's word",
        '        self._tell_once(unit, gid, RelayDoubted.code, name + how, whom=who or b"")\n',
        '        self._tell_once(unit, gid, RelayLied.code, name + how, whom=who or b"")\n',
        ["test_lineage.py::test_votes_of_one_liar_move_nobody"],
    ),
    Mutant(
        "the lower hash is the group's branch",
        "        if 2 * max(count(ours), count(other)) > len(ballots):\n            return count(other) > count(ours)\n",
        "        if ballots:\n            return other.name < ours.name\n",
        ["test_branches.py::test_more_than_half_of_those_on_both_sides_decide"],
    ),
    Mutant(
        "one vote is a majority",
        "        if 2 * max(count(ours), count(other)) > len(ballots):\n",
        "        if max(count(ours), count(other)):\n",
        ["test_branches.py::test_more_than_half_of_those_on_both_sides_decide"],
    ),
    Mutant(
        "a tie is decided at once",
        "        if now < known_at + LATE_MS:\n            return None\n",
        "",
        ["test_branches.py::test_more_than_half_of_those_on_both_sides_decide"],
    ),
    Mutant(
        "committers are judges of their own Commits",
        "        jury = [count(side, neutral=True) for side in sides]\n",
        "        jury = [count(side) for side in sides]\n",
        ["test_branches.py::test_an_admin_who_puts_out_the_person_who_put_them_down_wins_nobody"],
    ),
    Mutant(
        "who says two things counts for both",
        "                names == {side.name}\n",
        "                side.name in names\n",
        ["test_branches.py::test_a_member_who_says_two_things_has_said_nothing"],
    ),
    Mutant(
        "members vote for what help told them",
        "        if read is None and step is not None and step.is_read:\n",
        "        if read is None and step is not None:\n",
        ["test_branches.py::test_a_vote_is_for_what_one_has_read_and_is_said_once"],
    ),
    Mutant(
        "an asking whose label is taken is lost",
        "                return row.recipient is not None and self._asking.ask_again(\n                    unit, row.id, row.about, row.recipient\n                )\n",
        "                return False\n",
        ["test_lineage.py::test_every_asking_arrives_while_a_label_for_it_is_left"],
    ),
    Mutant(
        "who has lost a vote asks once",
        "        if not rest and has_lost is False:\n",
        "        if not rest and not is_lost:\n",
        ["test_chains.py::test_the_loser_of_a_vote_asks_until_they_are_over_whatever_is_lost"],
    ),
    Mutant(
        "what a claim has begun ends the asking of who has lost",
        "        if has_lost is False and (not asks_left or self._asking.is_known(gid, number, state)):\n",
        "        if not is_lost and (not asks_left or self._asking.is_known(gid, number, state)):\n",
        ["test_chains.py::test_the_loser_of_a_vote_asks_until_they_are_over_whatever_is_lost"],
    ),
    Mutant(
        "askings that can decide nothing use up the labels and the answers",
        "        if has_lost is None and not self._branches.awaits_votes(gid, now=unit.now):\n",
        "        if False:\n",
        ["test_chains.py::test_while_it_is_open_nobody_is_asked_who_cannot_decide_it"],
    ),
    Mutant(
        "votes are waited for until a time to come",
        '"UPDATE sibling SET known_at = min(known_at, ?1), due_at = ?1"',
        '"UPDATE sibling SET due_at = ?1"',
        ["test_branches.py::test_an_hour_is_an_hour_though_the_clock_was_set_back"],
    ),
    Mutant(
        "who has moved to a relay makes no drop there",
        "        self._conversations.epochs.has_access(unit)\n",
        "",
        [
            "test_exit.py::test_a_group_left_where_nobody_has_access_goes_on_when_somebody_moves_there"
        ],
    ),
    Mutant(
        "votes in anybody's name",
        "                check_signature(vote.signer, vote.signature, text)\n",
        "                pass\n",
        ["test_branches.py::test_nobody_votes_for_another_and_nobody_who_was_not_there"],
    ),
    Mutant(
        "who is put out still votes",
        "            if person.identity not in ours.gone | other.gone\n",
        "",
        ["test_branches.py::test_a_person_who_is_out_on_one_side_does_not_count"],
    ),
    Mutant(
        "lineages without a bound",
        "        if oldest is not None:\n",
        "        if False:\n",
        ["test_lineage.py::test_a_lineage_reaches_back_so_far_and_no_more_is_kept"],
    ),
    Mutant(
        "what nobody can apply stops the group",
        "            self._outrun_if_rightful(unit, gid, commit)\n",
        "",
        ["test_lineage.py::test_a_commit_that_nobody_can_apply_is_outrun"],
    ),
    Mutant(
        "who was cut off stays behind",
        "                        self._conversations.commits.cut_off(unit, gid)\n",
        "                        pass\n",
        ["test_exit.py::test_member_whose_relay_died_with_the_commit_is_helped_back"],
    ),
    Mutant(
        "early messages without a bound",
        "if count < MAX_EARLY:",
        "if count < 2**62:",
        ["test_members.py::test_messages_of_epochs_that_never_come_are_bounded"],
    ),
    Mutant(
        "clock of a member believed",
        "MAX_CLOCK_STEP = 2**20",
        "MAX_CLOCK_STEP = 2**60",
        ["test_members.py::test_member_who_claims_the_end_of_time_does_not_bring_it"],
    ),
    Mutant(
        "wish to leave unsigned",
        "        check_signature(wish.identity, wish.signature, leave_text(gid, wish.nonce))\n",
        "",
        ["test_delivery.py::test_leave_statement_for_another_moves_nobody"],
    ),
    Mutant(
        "pieces of Commits without a bound",
        "while begun[leaf] > MAX_OPEN or sum(begun.values()) > MAX_OPEN_ALL:",
        "while False:",
        ["test_pieces.py::test_whatever_others_begin_a_commit_becomes_whole"],
    ),
    Mutant(
        "a piece counts of whoever knows the drop",
        "            check_signature(self.signers[piece.leaf], piece.signature, self._text(piece))\n",
        "            pass\n",
        [
            "test_pieces.py::test_nothing_is_kept_of_a_writer_who_knows_the_drop_and_is_not_in_the_epoch",
            "test_pieces.py::test_piece_counts_in_its_drop_and_under_its_author_s_leaf_alone",
        ],
    ),
    Mutant(
        "a piece counts in every epoch and group",
        '    place = group + epoch.to_bytes(8, "big") + drop_id\n',
        '    place = b""\n',
        ["test_pieces.py::test_piece_counts_in_its_drop_and_under_its_author_s_leaf_alone"],
    ),
    Mutant(
        "room for pieces is taken from who comes last",
        "whose = leaf if begun[leaf] > MAX_OPEN else most",
        "whose = leaf",
        ["test_pieces.py::test_all_flooders_together_leave_room_for_an_author_who_has_begun_less"],
    ),
    Mutant(
        "one room for pieces of all authors",
        "while begun[leaf] > MAX_OPEN or sum(begun.values()) > MAX_OPEN_ALL:",
        "while sum(begun.values()) > MAX_OPEN:",
        ["test_pieces.py::test_whatever_others_begin_a_commit_becomes_whole"],
    ),
    Mutant(
        "a relay has lied where our own keys have taken our room",
        "        if missing:  # else all of it was there, and something of ours has taken its room\n            self._warnings.report_lie(unit, gid,",
        "        if True:\n            self._warnings.report_lie(unit, gid,",
        ["test_pieces.py::test_relay_is_not_accused_where_a_copy_of_our_keys_has_taken_our_room"],
    ),
    Mutant(
        "Welcomes without a bound",
        "        if count < MAX_OFFERS:",
        "        if count >= 0:",
        ["test_members.py::test_welcomes_that_never_come_are_bounded"],
    ),
    Mutant(
        "KeyPackage of somebody else taken",
        "if self._roster.person_of(data, now=unit.now).identity != sender:",
        "if not self._roster.person_of(data, now=unit.now).identity:",
        ["test_members.py::test_key_package_of_another_is_not_taken_for_the_senders"],
    ),
    Mutant(
        "a kind without a row passes",
        "if kind not in rows)",
        "if kind not in kinds)",
        [
            "test_kinds.py::test_a_kind_without_a_row_is_refused",
            "test_kinds.py::test_a_kind_of_cell_without_a_row_is_refused",
        ],
    ),
    Mutant(
        "a kind counts where it is not heard",
        "if not self._roster.is_heard(gid, kind):",
        "if not sender:",
        ["test_delivery.py::test_a_kind_is_ignored_in_conversations_where_it_is_not_heard"],
    ),
    Mutant(
        "timer set by anybody",
        "if not self._roster.may_say(gid, sender, kind):",
        "if not sender:",
        ["test_history.py::test_the_timer_of_a_group_is_set_by_people_who_may_rename_it"],
    ),
    # History
    Mutant(
        "edits of others accepted",
        "    return KINDS[change.kind].right is not Right.AUTHOR or change.identity == author\n",
        "    return True\n",
        ["test_history.py::test_only_the_author_edits_and_deletes"],
    ),
    Mutant(
        "block ignored",
        '        if self._is_unwanted(gid, identity):\n            unit.db.execute("INSERT INTO gone',
        '        if self.is_blocked(b""):\n            unit.db.execute("INSERT INTO gone',
        ["test_history.py::test_blocked_person_is_not_heard"],
    ),
    Mutant(
        "expired text comes back",
        "        if self._is_gone(gid, mid):\n            return []",
        "        if mid is None:\n            return []",
        ["test_history.py::test_expired_text_does_not_come_back"],
    ),
    Mutant(
        "what was sent outlives its deletion",
        "UPDATE sent SET id = x'', envelope = x'', is_quiet = 1",
        "UPDATE sent SET id = x'', is_quiet = 1",
        ["test_history.py::test_nothing_of_an_expired_text_stays_in_the_files"],
    ),
    Mutant(
        "deleted words stay in the log",
        "            self._is_scrub_due = not self._vault.scrub()",
        "            self._is_scrub_due = False",
        ["test_history.py::test_nothing_of_a_deleted_text_stays_in_the_files"],
    ),
    Mutant(
        "clock set back lengthens lives",
        '"UPDATE message SET expires_at = min(expires_at, ?1 + 1000 * life_s + CASE"',
        '"UPDATE message SET expires_at = max(expires_at, ?1 + 1000 * life_s + CASE"',
        ["test_history.py::test_clock_set_back_lengthens_no_life"],
    ),
    # Vault and first contact
    Mutant(
        "two processes on one profile",
        "os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)\n    try:\n        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)\n    try:\n        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        ["test_vault.py::test_one_process_at_a_time"],
    ),
    Mutant(
        "vault of a newer program opened",
        "if version > schema.VERSION:\n            raise VaultTooNew",
        "if version > schema.VERSION + 1:\n            raise VaultTooNew",
        ["test_vault.py::test_vault_of_a_newer_program_is_left_alone"],
    ),
    Mutant(
        "a relay's store from before the first release is opened",
        "    if version < BASE:\n",
        "    if version < 0:\n",
        [
            "test_relay_store.py::test_a_store_from_before_the_first_release_is_refused_untouched_and_says_what_to_do"
        ],
    ),
    Mutant(
        "a vault from before the first release is opened",
        "if version < schema.BASE:",
        "if version < 0:",
        [
            "test_vault.py::test_vault_from_before_the_first_release_is_left_alone_and_says_what_to_do"
        ],
    ),
    Mutant(
        "a reader remembers what a unit has changed since",
        "            self.read.forget()\n",
        "            pass\n",
        ["test_unit.py::test_what_a_reader_remembers_is_forgotten_with_each_unit"],
    ),
    Mutant(
        "a reader does not see what its unit has written",
        "        if self._db.in_transaction:\n            return self.execute(query).fetchall()\n",
        "",
        ["test_unit.py::test_what_a_reader_remembers_is_forgotten_with_each_unit"],
    ),
    Mutant(
        "memory outlives a failed unit",
        "            for forget in self._forget:\n                forget()\n",
        "",
        ["test_client_api.py::test_what_could_not_be_kept_is_read_once_more_and_not_asked_for"],
    ),
    Mutant(
        "invite good for many",
        "            self._end(unit, secret)\n            self._conversations.warn",
        "            self._conversations.warn",
        ["test_invite.py::test_junk_uses_the_invite_up_and_is_reported"],
    ),
    Mutant(
        "namesake slips into a known name",
        "    while alike(found, others):\n",
        "    while False:\n",
        ["test_invite.py::test_namesake_gets_another_name_and_is_warned_of"],
    ),
    # The drill
    Mutant(
        "a file that has just been said is fetched from wherever its message says",
        "        is_near = file.relay in near\n",
        "        is_near = True\n",
        [
            "test_drill_files.py::test_no_file_makes_a_client_call_a_relay_before_its_person_names_it"
        ],
    ),
    Mutant(
        "a file that is put up again is fetched from wherever its author says",
        "        is_near = again.relay in self._relays_of(gid, sender)\n",
        "        is_near = True\n",
        [
            "test_drill_files.py::test_no_file_makes_a_client_call_a_relay_before_its_person_names_it"
        ],
    ),
    Mutant(
        "the announcement of a file is longer than most texts",
        "        file = structs.replace(file, life_s=self._history.timer(gid))\n",
        "        file = structs.replace(\n            file, life_s=self._history.timer(gid), text=file.text.ljust(1_500)\n        )\n",
        [
            "test_drill_files.py::test_files_are_announced_in_cells_like_those_of_texts_after_an_upload"
        ],
    ),
    Mutant(
        "files are padded to whole cells and no further",
        "        return padded(self.filled)\n",
        "        return self.filled\n",
        ["test_drill_files.py::test_coarser_padding_names_fewer_lines_and_fewer_leaflets"],
    ),
    Mutant(
        "an observer of lines takes fetches from before a file was sent for its own",
        "        alike = (size == seen[number]) & (files.fetched_at >= at)\n",
        "        alike = size == seen[number]\n",
        ["test_drill_files.py::test_a_fetch_before_the_file_was_sent_names_nobody"],
    ),
    Mutant(
        "one coding of base64 not searched",
        "for shift in range(3):",
        "for shift in range(2):",
        ["test_search.py::test_text_is_found_in_every_coding"],
    ),
    Mutant(
        "text across two blocks not found",
        'block = data[begin : begin + _BLOCK + 7].ljust(min(_BLOCK, size - begin) + 7, b"\\0")',
        'block = data[begin : begin + _BLOCK].ljust(min(_BLOCK, size - begin) + 7, b"\\0")',
        ["test_search.py::test_text_across_a_border_is_found"],
    ),
    Mutant(
        "a word is held from other regions only in part",
        "            if is_word and self._holding.is_kept_from(a.region for a in peer.addresses):\n",
        "            if is_word and self._holding.is_kept_from(a.region for a in peer.addresses[:1]):\n",
        ["test_holding.py::test_a_fallback_elsewhere_is_elsewhere"],
    ),
    Mutant(
        "a repair of a held word is deposited",
        "            elif answer.envelope and self._holding.is_kept_from(a.region for a in peer.addresses):\n",
        "            elif False and self._holding.is_kept_from(a.region for a in peer.addresses):\n",
        ["test_holding.py::test_a_word_kept_from_its_reader_is_held_when_it_is_said_again"],
    ),
    Mutant(
        "a notice sends its reader anywhere",
        "        if kind is None or not may_be_held or held.relay not in relays:\n",
        "        if kind is None or not may_be_held:\n",
        ["test_holding.py::test_nobody_is_sent_to_a_relay_that_is_not_their_contacts"],
    ),
    Mutant(
        "a word that waits to be fetched is asked for again",
        "        if self._holding.is_awaited(gap.gid, gap.signer, now=unit.now):\n",
        "        if False:\n",
        ["test_holding.py::test_a_word_waits_while_the_home_it_rests_at_is_away"],
    ),
    Mutant(
        "a held word that is read before its notice is never found",
        "        if early is not None:  # it was read and not known yet: from there on once more\n",
        "        if False:\n",
        ["test_holding.py::test_words_that_were_read_before_their_notices_came_are_found"],
    ),
    Mutant(
        "a relay that moves says of what it has not that nobody has it",
        "        return DropMoved(order=self._order) if self._order else NoSuchDrop()\n",
        "        return NoSuchDrop()\n",
        ["test_moving.py::test_what_has_ended_at_the_source_ends_there"],
    ),
    Mutant(
        "a new drop has the keys of a crash",
        '                self._keys.execute("DELETE FROM shred_key WHERE number > ?", (last,))\n',
        "                pass\n",
        ["test_moving.py::test_keys_of_a_crash_open_nothing_that_comes_later"],
    ),
    Mutant(
        "a new drop has the keys of a commit that failed half-way",
        "        self._are_keys_ahead = True\n        self._end_deferring()\n",
        "        self._end_deferring()\n",
        [
            "test_relay_store.py::test_keys_of_a_commit_that_failed_half_way_open_nothing_that_comes_later"
        ],
    ),
    Mutant(
        "what was deferred is never waited for",
        "                self._settle()\n",
        "                pass\n",
        ["test_relay_store.py::test_a_deferred_batch_is_on_disk_when_the_next_commit_returns"],
    ),
    Mutant(
        "a commit that changes nothing settles nothing",
        "is_written = self._writer.total_changes != self._committed_rows",
        "is_written = self._writer.in_transaction",
        ["test_relay_store.py::test_a_commit_that_changes_nothing_waits_for_the_deferred_batch"],
    ),
    Mutant(
        "the log grows for as long as somebody writes",
        "if self._log_pages < LOG_PAGES:",
        "if True:",
        ["test_relay_store.py::test_the_log_is_emptied_beside_the_writing_and_begun_anew"],
    ),
    Mutant(
        "drops go while a power cut could still take what was copied",
        "        await destination.take(moving.Carry([], settles=True))\n",
        "",
        ["test_moving.py::test_nothing_is_released_that_the_destination_may_still_forget"],
    ),
    Mutant(
        "a drop that is named twice lands twice",
        "                landing[one.drop_id] = drop\n",
        "                landing[one.drop_id + bytes([len(landing)])] = drop\n",
        ["test_moving.py::test_a_drop_goes_only_when_frozen_and_lands_only_as_it_was"],
    ),
    Mutant(
        "an epoch drop that has ended is not made again",
        "                if isinstance(answer, NoSuchDrop) and row.tries >= ENDED_TRIES:\n",
        "                if False:\n",
        ["test_members.py::test_epoch_drop_that_a_relay_has_ended_is_made_again"],
    ),
    Mutant(
        "a person undoes what their relay wants held",
        "        return InForce(HOLD, By.RELAY) if self._me.home.holds else InForce(DEPOSIT, By.NOBODY)\n",
        "        return InForce(DEPOSIT, By.NOBODY)\n",
        ["test_holding.py::test_a_relay_can_have_its_people_hold"],
    ),
    Mutant(
        "a full disk is a damaged vault",
        "            return DiskFull(found)",
        "            return VaultDamaged(found)",
        ["test_disk.py::test_a_disk_that_fails_at_any_write_is_named_and_harms_nothing"],
    ),
    Mutant(
        "a disk that fails is one with a limit",
        "        return BY_ERRNO.get(error.errno or 0, otherwise)\n",
        "        return FileTooLarge\n",
        ["test_disk.py::test_a_disk_that_fails_at_any_write_is_named_and_harms_nothing"],
    ),
    Mutant(
        "what leaves is not escaped once more",
        "    for one in escaped(line, keep=FSI + PDI):",
        "    for one in line:",
        ["test_display.py::test_no_character_without_a_glyph_goes_out_by_itself"],
    ),
    Mutant(
        "a joiner is shown anywhere",
        "    if text[at] not in _JOINERS:\n        return False",
        "    if text[at] in _JOINERS:\n        return True",
        ["test_display.py::test_what_could_deceive_is_written_out"],
    ),
    Mutant(
        "further lines of a text look like ours",
        "*(FURTHER + shown(line) for line in further)",
        "*(shown(line) for line in further)",
        ["test_cli.py::test_a_text_cannot_look_like_somebody_else_s"],
    ),
    Mutant(
        "JSON leaves marks of direction as they are",
        'return "".join(c if unicodedata.category(c) not in _CONTROLS else _units(c) for c in text)',
        "return text",
        ["test_display.py::test_json_of_every_character_is_the_same_value"],
    ),
    Mutant(
        "what was done and could not be shown has failed",
        "        if is_question:\n",
        "        if lost:\n",
        ["test_cli.py::test_what_was_done_is_done_whether_it_can_be_shown_or_not"],
    ),
    Mutant(
        "what could not be shown counts as read",
        "        if not (await self._shown()).results:",
        "        if not (await self._shown()).results and False:",
        ["test_cli.py::test_what_was_done_is_done_whether_it_can_be_shown_or_not"],
    ),
    Mutant(
        "a passphrase is used as it was typed",
        'unicodedata.normalize("NFC", spaced)',
        "passphrase",
        ["test_cli.py::test_a_passphrase_is_the_same_however_it_was_typed"],
    ),
    Mutant(
        "an empty passphrase is taken",
        "    if not passphrase:\n",
        "    if False:\n",
        ["test_cli.py::test_a_passphrase_that_is_none_is_refused_by_every_way_in"],
    ),
    Mutant(
        "a process may leave a core dump",
        "    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)",
        "    pass",
        ["test_terminal.py::test_nothing_of_a_process_is_left_in_a_core_dump"],
    ),
    Mutant(
        "a closed descriptor stays closed",
        "            os.open(os.devnull, os.O_RDWR)",
        "            pass",
        ["test_terminal.py::test_a_passphrase_by_standard_input_opens_the_profile"],
    ),
    Mutant(
        "a directory that was there keeps its mode",
        "            )\n    directory.chmod(0o700)\n",
        "            )\n",
        ["test_terminal.py::test_a_profile_s_directory_is_its_owner_s_alone"],
    ),
    Mutant(
        "a look-alike of a name is another name",
        "for one in (wide, _mls.skeleton(wide))",
        "for one in (wide,)",
        ["test_names.py::test_names_that_look_alike_are_known_to"],
    ),
    Mutant(
        "a contact is told apart by equal names only",
        "        known = alike(name, taken)\n",
        "        known = name if name in taken else ''\n",
        ["test_names.py::test_a_look_alike_is_warned_of_like_a_namesake"],
    ),
    Mutant(
        "a stranger in a group looks like a contact",
        "often[one] == 1 and one not in known.looks",
        "often[one] == 1",
        ["test_names.py::test_a_stranger_in_a_group_does_not_look_like_a_contact"],
    ),
    Mutant(
        "a name may end in a line break",
        "[^{_UNFIT}]+\\Z",
        "[^{_UNFIT}]+$",
        ["test_names.py::test_a_word_that_is_no_name_is_refused_here_and_from_others"],
    ),
    Mutant(
        "a group is as much as a person",
        "            [c for c in views if c.gid in met],\n",
        "",
        ["test_names.py::test_a_group_catches_nothing_that_is_meant_for_a_person"],
    ),
    Mutant(
        "a name goes before an id",
        "        found = [c for c in contacts if c.id == wanted]\n",
        "        found = [c for c in contacts if typed(c.name) == wanted]\n",
        ["test_names.py::test_an_id_wins_over_any_name"],
    ),
    Mutant(
        "a full stop behind a link is a part of it",
        'and one not in "-_")',
        'and one not in "-_.")',
        ["test_invite.py::test_signs_around_a_link_do_no_harm"],
    ),
    Mutant(
        "any warning may be pushed out",
        "SELECT id FROM warning WHERE NOT is_trust",
        "SELECT id FROM warning WHERE true",
        ["test_warnings.py::test_junk_pushes_out_no_warning_of_trust"],
    ),
    Mutant(
        "a message of an epoch that is over stops whoever reads it",
        "class WrongEpoch(PeerError):",
        "class WrongEpoch(AmanatError):",
        ["test_pieces.py::test_nothing_that_a_member_says_stops_others_from_reading_on"],
    ),
    Mutant(
        "a bot marks a message as read apart from its answer",
        "        together.seen(message.gid, message.row)\n        while True:\n",
        "        self._client.chat(message.gid).seen(message.row)\n        while True:\n",
        ["test_bots.py::test_a_bot_that_dies_at_any_statement_answers_once"],
    ),
    Mutant(
        "a bot answers as fast as it is written to",
        "            await self._turn_of(message)\n",
        "",
        ["test_bots.py::test_two_bots_do_not_answer_each_other_for_ever"],
    ),
    Mutant(
        "messages are read before the body of the loop has ended",
        "                if not message.is_deleted:\n                    yield message\n                message.seen()\n",
        "                message.seen()\n                if not message.is_deleted:\n                    yield message\n",
        ["test_client_api.py::test_a_message_is_read_once_the_body_of_the_loop_has_ended"],
    ),
    Mutant(
        "a relay's lies are one warning with everybody's",
        "self.warn(unit, None, code, detail, whom=relay)",
        "self.warn(unit, None, code, detail)",
        ["test_warnings.py::test_a_relay_that_lies_all_the_time_is_told_of_once"],
    ),
    Mutant(
        "a text that nobody has seen is told as read",
        "return max(told, min(heard, self.first[signer] - 1))",
        "return heard",
        ["test_read_marks.py::test_a_text_is_told_as_read_once_it_was_and_not_before"],
    ),
    Mutant(
        "reading is told although the person keeps it",
        "unread = self._reads.unread(gid) if is_small and self._reads.are_told else None",
        "unread = self._reads.unread(gid) if is_small else None",
        ["test_read_marks.py::test_somebody_who_keeps_it_tells_nothing_and_sees_nothing"],
    ),
    Mutant(
        "somebody blocked learns what was read",
        "if identity in self.shut_out:",
        "if identity in ():",
        ["test_read_marks.py::test_somebody_blocked_does_not_learn_what_was_read"],
    ),
    Mutant(
        "the capacity model counts what goes through a hop once",
        "comes = 2 * up + down if is_hopped else up",
        "comes = up + down if is_hopped else up",
        ["test_capacity.py::test_what_goes_through_a_hop_is_counted_twice"],
    ),
    Mutant(
        "the capacity model forgets two of three replicas",
        "disk_tb=people * rest * max(1.0, nodes) / TB,",
        "disk_tb=people * rest / TB,",
        ["test_capacity.py::test_a_cluster_keeps_each_cell_on_three_disks"],
    ),
]


COPIED = ("src", "tests", "docs", "fuzz")
"""The program, its tests, and the other directories that the tests read."""


def copied(into: Path) -> Path:
    """A copy to plant bugs in."""
    into.mkdir(exist_ok=True)
    for name in COPIED:
        shutil.copytree(ROOT / name, into / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", into)
    return into


def failure(copy: Path, tests: Sequence[str], *, most_s: float) -> str:
    """The last line of pytest about the first of these tests that fails in a copy; empty if all
    pass. After `most_s` seconds they are killed with every process that they have started, which
    counts as a failure. Raises BrokenMutant if they cannot run."""
    with tempfile.TemporaryFile("w+") as said:
        running = subprocess.Popen(
            [*PYTEST, *(f"tests/{test}" for test in tests)],
            cwd=copy,
            # No bytecode: Python caches it by a file's second and size, which mutants share.
            env=os.environ | {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=said,
            stderr=said,
            start_new_session=True,  # a process group of its own
        )
        try:
            ended = running.wait(most_s)
        except subprocess.TimeoutExpired:
            return f"no end after {most_s:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        if ended == 0:
            return ""
        said.seek(0)
        words = said.read()
        if ended != 1:
            raise BrokenMutant(words)
        named = [line for line in words.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        return named[0] if named else "a test"


def place(copy: Path, mutant: Mutant) -> Path:
    """The file that the bug goes into. Raises BrokenMutant unless it has one place."""
    files = sorted((copy / "src" / "amanat").rglob("*.py"))
    found = {path: path.read_text().count(mutant.old) for path in files}
    places = [path for path, times in found.items() for _ in range(times)]
    if len(places) != 1:
        where = ", ".join(str(path.relative_to(copy)) for path in places) or "nowhere"
        raise BrokenMutant(f"{mutant.name}: must stand once, and stands in {where}")
    return places[0]


def is_caught(copy: Path, mutant: Mutant, *, most_s: float = BUG_S) -> bool:
    """Whether a test fails because of the bug, or has not ended after `most_s` seconds; the copy is
    as before afterwards. Raises BrokenMutant."""
    path = place(copy, mutant)
    text = path.read_text()
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        return bool(failure(copy, mutant.tests, most_s=most_s))
    finally:
        path.write_text(text)


def try_all(
    mutants: Sequence[Mutant], *, progress: Callable[[str, bool | None], None]
) -> dict[str, bool]:
    """Whether each bug was caught; `progress` gets a name and the outcome. Raises BrokenMutant also
    if the tests fail without any bug. As many bugs are tried at once as there are cores."""
    at_once = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="amanat-mutants-") as directory:
        copies = SimpleQueue[Path]()
        for number in range(at_once):
            copies.put(copied(Path(directory) / str(number)))

        @contextlib.contextmanager
        def borrowed() -> Iterator[Path]:
            copy = copies.get()
            try:
                yield copy
            finally:
                copies.put(copy)

        def failure_without(tests: list[str]) -> str:
            with borrowed() as copy:
                return failure(copy, tests, most_s=ALL_S)

        def caught(mutant: Mutant) -> bool:
            with borrowed() as copy:
                progress(mutant.name, None)
                return is_caught(copy, mutant)

        progress("without any bug", None)
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        with ThreadPoolExecutor(at_once) as pool:
            shares = [tests[number::at_once] for number in range(min(at_once, len(tests)))]
            failures = [one for one in pool.map(failure_without, shares) if one]
            if failures:
                raise BrokenMutant(f"the tests fail without any bug: {failures[0]}")
            found = {}
            for mutant, is_so in zip(mutants, pool.map(caught, mutants), strict=True):
                found[mutant.name] = is_so
                progress(mutant.name, is_so)
        return found


def main() -> int:
    """Try the bugs and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="NAME", action="append", help="this bug; may be repeated")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = parser.parse_args()
    chosen = [m for m in MUTANTS if not asked.only or m.name in asked.only]
    if asked.only and len(chosen) < len(set(asked.only)):
        parser.error(f"no such bug; there are: {', '.join(m.name for m in MUTANTS)}")
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=len(chosen))

        def progress(name: str, caught: bool | None) -> None:
            bar.update(task, description=name, advance=0 if caught is None else 1)
            if caught is False:
                bar.console.print(f"survived: {name}")

        try:
            found = try_all(chosen, progress=progress)
        except BrokenMutant as error:
            bar.console.print(str(error), markup=False)
            return 2
    survived = [name for name, caught in found.items() if not caught]
    figures = {"mutants": len(found), "caught": len(found) - len(survived), "survived": survived}
    Console().print_json(json.dumps(figures)) if asked.json else Console().print(
        f"{figures['caught']} of {figures['mutants']} planted bugs were caught"
    )
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
