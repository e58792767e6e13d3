/** Backups: where they are made, how the last one went, and a trial of any of them. */

import { bytes } from "./attached.js";
import { waiting } from "./awaiting.js";
import { shortMoment } from "./days.js";
import { make } from "./dom.js";
import { fault } from "./faults.js";
import { dotted } from "./importing.js";
import { more } from "./more.js";
import {
  address,
  button,
  buttons,
  choice,
  confirm,
  field,
  hint,
  part,
  says,
  way,
} from "./parts.js";
import { fill, line, many } from "./phrase.js";
import { begin, showAsked } from "./recovery.js";
import { goBack, show } from "./sheet.js";
import { store } from "./store.js";
import { words } from "./words.js";

/** @import { Backups } from "./store.js" */
/** @import { Piece } from "./sheet.js" */

const FORGET_DAYS = [0, 7, 30, 90];

/** Their part of the settings. */
export function backups() {
  const about = store.status?.backups;
  return part(
    more.backups,
    ...(about ? standing(about) : []),
    way([about?.folder ? more.backupsMore : more.backupBegin], showBackups, "backups"),
  );
}

/** How they stand. @param {Backups} about */
function standing(about) {
  if (!about.folder) return [says(more.backupsNone)];
  return [
    ...troubles(about),
    says(...fill(more.backupEvery, { folder: address(about.folder) })),
    ...(about.last_at
      ? [
        says(line(more.backupLast, { when: shortMoment(about.last_at) })),
        hint(...dotted([bytes(about.bytes), many("importCount", about.messages, more)])),
      ]
      : [says(more.backupNever)]),
  ];
}

/** What the person has to know, or to do. @param {Backups} about @returns {Piece[]} */
function troubles({ error, is_late, is_asked, is_noted }) {
  return [
    ...(error || is_late
      ? [make(
        "section",
        { className: "notice" },
        ...(error ? [says(more.backupFailed, " ", fault(new Error(error)))] : []),
        ...(is_late ? [says(more.backupLate)] : []),
      )]
      : []),
    ...(is_asked
      ? [make(
        "div",
        { className: "warning" },
        says(is_noted ? more.phraseAskedAgain : more.phraseAsked),
        buttons(button(more.phraseGive, () => Promise.resolve(showAsked()))),
      )]
      : []),
  ];
}

export function showBackups() {
  void store.ask("status").catch(() => {}); // time alone changes it, of which nobody is told
  const folder = field(more.backupFolder, { dir: "ltr", placeholder: "/media/…", maxLength: 4096 });
  const made = make("p", { role: "status" });
  show({
    title: more.backups,
    on: ["status"],
    build: () => {
      const about = store.status?.backups;
      if (!about?.folder) {
        return [
          says(more.backupsNone),
          says(more.backupWhat),
          folder.element,
          hint(more.backupFolderHint),
          buttons(button(more.backupBegin, () => begin(folder.input.value), "chief")),
        ];
      }
      return [
        ...standing(about),
        bar(),
        made,
        buttons(
          button(more.backupNow, async () => {
            made.textContent = "";
            const { without_file } = await store.ask("back up");
            made.textContent = [
              more.backupMade,
              ...(without_file ? [many("backupWithout", without_file, more)] : []),
            ].join(" ");
          }, "chief"),
        ),
        hint(more.backupWhat),
        make(
          "section",
          {},
          choice(
            more.backupForget,
            String(about.forget_days),
            [...new Set([...FORGET_DAYS, about.forget_days])].sort((one, other) => one - other)
              .map((days) => [
                String(days),
                days ? many("days", days) : words.never,
              ]),
            (days) =>
              store.ask("begin backups", { folder: about.folder, forget_days: Number(days) }),
          ),
          hint(more.backupForgetHint),
          way([more.phrase], showAsked, "phrase"),
          way([more.backupCheck], () => showCheck(about.folder), "check"),
          way([more.backupOther], () => showFolder(about.folder), "folder"),
          way([more.backupStop], stop, "stop"),
        ),
      ];
    },
  });
}

/** How far a backup or a restore has got that is under way; hidden if there is none. */
export function bar() {
  const what = make("p", { role: "status" });
  const done = /** @type {HTMLProgressElement} */ (make("progress", {
    ariaLabel: more.backups,
    max: 100,
  }));
  const element = make("div", {}, what, done);
  const draw = () => {
    const now = store.backup;
    element.hidden = !now;
    if (!now) return;
    const said = {
      files: more.backupFiles,
      write: more.backupWrites,
      check: more.backupChecks,
      restore: more.backupRestores,
    }[now.phase] ?? "";
    if (what.textContent !== said) what.textContent = said;
    done.value = now.percent;
  };
  draw();
  store.addEventListener("backup", function hear() {
    if (element.isConnected) draw();
    else store.removeEventListener("backup", hear);
  });
  return element;
}

function stop() {
  void confirm(
    more.backupStop,
    [more.backupStopWhat],
    more.backupStop,
    () => store.ask("stop backups"),
  );
}

/** @param {string} before */
function showFolder(before) {
  const folder = field(more.backupFolder, {
    dir: "ltr",
    value: before,
    maxLength: 4096,
    autofocus: true,
  });
  show({
    title: more.backupOther,
    build: () => [
      folder.element,
      hint(more.backupFolderHint),
      says(more.backupOtherWhat),
      buttons(
        button(words.set, async () => {
          await begin(folder.input.value);
          goBack();
        }, "chief"),
      ),
    ],
  });
}

/** @param {string} folder */
function showCheck(folder) {
  const place = field(more.backupPlace, {
    dir: "ltr",
    value: folder,
    maxLength: 4096,
    autofocus: true,
  });
  const found = make("p", { role: "status" });
  show({
    title: more.backupCheck,
    build: () => [
      says(more.backupCheckWhat),
      place.element,
      bar(),
      found,
      buttons(
        button(more.backupCheckNow, async () => {
          found.textContent = "";
          const { made_at, messages, unknown } = await store.ask("check backup", {
            backup: place.input.value,
          });
          found.textContent = [
            line(more.backupWhole, {
              when: shortMoment(made_at),
              messages: many("importCount", messages, more),
            }),
            ...(unknown ? [many("backupUnknown", unknown, more)] : []),
          ].join(" ");
        }, "chief"),
      ),
    ],
  });
}

/** After a restore: what is here, and what comes. */
export function showRestored() {
  history.replaceState(null, "", location.pathname + location.search); // once is enough
  show({
    title: more.restored,
    on: ["status"],
    build: () => [
      says(more.restoredWhat),
      ...waiting(),
      says(more.restoredOut),
      buttons(button(words.done, () => Promise.resolve(goBack()), "chief")),
    ],
  });
}
