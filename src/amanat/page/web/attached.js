/** The file of a message in its bubble: its name and size, where it rests, and buttons for it. */

import { make } from "./dom.js";
import { fault } from "./faults.js";
import { icon } from "./icons.js";
import { line, region } from "./phrase.js";
import { transferOf } from "./transfers.js";
import { words } from "./words.js";

/** @import { FileShown, Message } from "./line.js" */

const STEP = 1024;
/** The greatest height of a picture in its bubble. */
const MOST_REM = 20;
const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];
const until = new Intl.DateTimeFormat(words.locale, {
  day: "numeric",
  month: "short",
  timeZone: "UTC",
});

/** A number of bytes, as people read it. @param {number} many */
export function bytes(many) {
  const step = Math.min(UNITS.length - 1, Math.floor(Math.log(Math.max(many, 1)) / Math.log(STEP)));
  return new Intl.NumberFormat(words.locale, {
    style: "unit",
    unit: UNITS[step],
    unitDisplay: step ? "short" : "long",
    maximumFractionDigits: step ? 1 : 0,
  }).format(many / STEP ** step);
}

/** What a file is called. @param {{ kind: string, name: string }} file */
export function nameOf({ kind, name }) {
  if (kind === "voice") return words.voice;
  return kind === "picture" ? words.picture : name || words.file;
}

/** What stands for a message in one line: its text, or its file. @param {Message} one */
export function inShort({ text, file }) {
  if (!file || text) return text;
  return file.kind === "voice" ? `🎤 ${words.voice}` : `📎 ${nameOf(file)}`;
}

/** How far a transfer has got, where the page shows it. @param {number} transfer */
export function progressOf(transfer) {
  const found = document.querySelector(`progress[data-transfer="${transfer}"]`);
  return found instanceof HTMLProgressElement ? found : null;
}

/** @type {Record<string, () => string>} */
const DEEDS = {
  fetch: () => words.fileFetch,
  save: () => words.fileSave,
  again: () => words.fileAgain,
  pause: () => words.filePause,
  resume: () => words.fileResume,
  cancel: () => words.cancel,
};

/**
 * @param {string} name @param {string[]} said
 * @param {{ transfer: number, size: number, done: number } | undefined} under how far it has got
 * @param {string[]} deeds
 */
export function box(name, said, under, deeds) {
  return make(
    "div",
    { className: "file" },
    icon("file"),
    make("bdi", { className: "file-name" }, name),
    make("small", {}, said.join(" · ")),
    ...(under
      ? [
        make("progress", {
          max: Math.max(under.size, 1),
          value: under.done,
          ariaLabel: name,
          "data-transfer": String(under.transfer),
        }),
      ]
      : []),
    make(
      "div",
      { className: "file-deeds" },
      ...deeds.map((one) =>
        make("button", { type: "button", "data-deed": one, tabIndex: -1 }, DEEDS[one]?.() ?? one)
      ),
    ),
  );
}

/** Where a file rests, and until when. @param {FileShown} file */
function rests({ region: code, until: day }) {
  if (!day) return [];
  const when = until.format(Date.parse(day));
  return [line(words.fileRests, { where: region(code), day: when })];
}

/** Whether it no longer rests where it was. @param {FileShown} file @param {number} now */
function isGone({ until: day }, now) {
  return day !== null && now >= Date.parse(day) + 24 * 3_600_000;
}

/**
 * A picture, or its preview if no more is here, once its bytes are asked for (`shown.js`); until then
 * its stand-in, which takes as much room.
 * @param {string} id @param {string} text @param {FileShown} file
 * @param {boolean} isOffered whether a press fetches it
 */
function picture(id, text, { sides, here, outline, hint }, isOffered) {
  const [width, height] = sides ?? [1, 1], ratio = width / height;
  const name = text || words.picture;
  const within = outline
    ? [
      make("canvas", { "data-hint": hint }),
      make("img", { alt: name, "data-picture": id, "data-part": here ? "" : "/preview" }),
    ]
    : [make("canvas", { "data-hint": hint, role: "img", ariaLabel: name })];
  const deed = here ? "show" : outline && isOffered ? "fetch" : "";
  const made = deed
    ? make(
      "button",
      { type: "button", className: "picture", tabIndex: -1, "data-deed": deed },
      ...within,
      ...(here ? [] : [make("span", {}, words.fileFetch)]),
    )
    : make("div", { className: "picture" }, ...within);
  made.style.aspectRatio = `${ratio}`;
  made.style.inlineSize = `min(${width}px, ${MOST_REM * ratio}rem)`;
  return made;
}

/** A voice note, once what plays it is here (`voice.js`). @param {string} id @param {boolean} own @param {FileShown} file */
function voice(id, own, { seconds, waveform, here, played }) {
  return make("div", {
    className: "voice",
    "data-voice": id,
    "data-seconds": String(seconds),
    "data-waveform": waveform,
    "data-here": here ? "1" : "",
    "data-new": own || played ? "" : "1",
  });
}

/** The file of a message. @param {Message} message @param {FileShown} file */
export function attached({ id, own, text }, file) {
  // Before a preview has come by itself, nothing of its file is on its way for the person.
  const coming = transferOf(id), transfer = coming?.outline && !coming.error ? undefined : coming;
  /** @type {string[]} */
  const said = [bytes(file.size), ...rests(file)], deeds = [];
  if (file.here) deeds.push("save");
  else if (transfer) {
    if (transfer.error) said.push(fault(new Error(transfer.error)));
    else if (transfer.phase === "paused") said.push(words.filePaused);
    deeds.push(transfer.phase === "under-way" ? "pause" : "resume", "cancel");
    if (transfer.error || transfer.tries) deeds.push("again");
  } else if (own || !isGone(file, Date.now())) deeds.push("fetch");
  else deeds.push("again");
  const made = box(nameOf(file), said, transfer, deeds);
  if (file.kind === "voice") made.prepend(voice(id, own, file));
  if (file.kind === "picture") made.prepend(picture(id, text, file, deeds.includes("fetch")));
  return made;
}
