/** Bringing chats along from another messenger: an export is chosen, looked into, and imported. */

import { shortDay, shortMoment } from "./days.js";
import { make } from "./dom.js";
import { more } from "./more.js";
import { button, buttons, field, hint, part, says, toggle, way } from "./parts.js";
import { bdi, fill, line, many } from "./phrase.js";
import { act, goBack, show } from "./sheet.js";
import { store } from "./store.js";
import { words } from "./words.js";

/**
 * @typedef {{
 *   key: string, title: string, kind: string, messages: number, people: number, first_at: number,
 *   last_at: number, files: number,
 * }} ChatSurvey
 * @typedef {{
 *   chats: ChatSurvey[], skipped: Record<string, number>, me: string, cut_off: string,
 *   is_cut: boolean, is_zoned: boolean,
 * }} Survey
 * @typedef {{ path: string, day_first: boolean | null }} Export
 */

/** Where other programs have their exports, in their English. */
const MENUS = {
  all: bdi("Settings → Advanced → Export Telegram data"),
  one: bdi("⋮ → Export chat history"),
  whatsapp: bdi("⋮ → More → Export chat"),
};

export function showImport() {
  const place = field(more.importPath, { dir: "ltr", maxLength: 4096 });
  show({
    title: more.importBegin,
    build: async () => {
      /** @type {{ path: string, name: string, at: number }[]} */
      const found = await store.ask("exports");
      return [
        says(...fill(more.importHow, MENUS)),
        ...(found.length
          ? [
            part(
              more.importFound,
              ...found.map(({ path, name, at }) =>
                way(
                  [bdi(name), ...under(shortMoment(at))],
                  () => act(() => look({ path, day_first: null })),
                  path,
                )
              ),
            ),
          ]
          : []),
        place.element,
        buttons(
          button(more.importLook, async () => {
            const path = place.input.value.trim();
            if (path) await look({ path, day_first: null });
          }, "chief"),
        ),
      ];
    },
  });
}

/** A small line under another one, of parts that each have a direction. @param {...string} parts */
export function under(...parts) {
  return [make("br"), make("small", {}, ...dotted(parts))];
}

/** @param {string[]} parts */
export function dotted(parts) {
  return parts.flatMap((one, place) => place ? [" · ", bdi(one)] : [bdi(one)]);
}

/** From a day to another one. @param {number} from @param {number} to */
export function span(from, to) {
  return line(more.importSpan, { from: shortDay(from), to: shortDay(to) });
}

/**
 * A bar of a preview or an import.
 * @param {string} what @param {number} [percent]
 * @param {() => unknown} [ended] what to do once it has ended, if the bar is still shown
 */
export function underWay(what, percent, ended = () => {}) {
  const bar = /** @type {HTMLProgressElement} */ (make("progress", { ariaLabel: what, max: 100 }));
  if (percent !== undefined) bar.value = percent;
  store.addEventListener("import", function hear(event) {
    if (!(event instanceof CustomEvent)) return;
    if (event.detail) bar.value = event.detail.percent;
    else {
      store.removeEventListener("import", hear);
      if (bar.isConnected) ended();
    }
  });
  return make(
    "div",
    {},
    make("p", { role: "status" }, what),
    bar,
    buttons(button(more.importStop, () => store.ask("stop import"))),
  );
}

/**
 * Ask for something that takes its time, under a bar; then show what came of it.
 * @param {string} title @param {string} what @param {() => Promise<any>} ask
 * @param {(answer: any) => void} then
 */
async function wait(title, what, ask, then) {
  let isShown = true;
  show({ title, build: () => [underWay(what)], end: () => (isShown = false) });
  try {
    const answer = await ask();
    if (!isShown) return; // the person has gone on; what came is in the list
    goBack();
    then(answer);
  } catch (error) {
    if (isShown) goBack();
    throw error;
  }
}

/** @param {Export} from */
async function look(from) {
  try {
    await wait(
      more.importWhat,
      more.importLooks,
      () => store.ask("preview", from),
      (survey) => survey && showPreview(from, survey), // none, if it was stopped
    );
  } catch (error) {
    if (!(error instanceof Error) || error.message !== "open-dates") throw error;
    showDates(from);
  }
}

/** @param {Export} from */
function showDates({ path }) {
  /** @param {boolean} day_first */
  const way = (day_first) => async () => {
    goBack();
    await look({ path, day_first });
  };
  show({
    title: more.importDates,
    build: () => [
      says(more.importDatesHint),
      buttons(button(more.dayFirst, way(true)), button(more.monthFirst, way(false))),
    ],
  });
}

/** @param {Export} from @param {Survey} survey */
function showPreview(from, survey) {
  const { chats, skipped, me, cut_off, is_cut, is_zoned } = survey;
  /** @type {Set<string>} */
  const without = new Set();
  const name = field(more.importMe), zone = field(more.importZone, { dir: "ltr", maxLength: 64 });
  const left = Object.entries(skipped).map(([why, n]) =>
    many(`left${why.replace(/^./u, (letter) => letter.toUpperCase())}`, n, more)
  );
  show({
    title: more.importWhat,
    build: () => [
      part(
        more.importPick,
        ...chats.map((one) =>
          toggle(
            [bdi(one.title || one.kind), ...under(...about(one))],
            !without.has(one.key),
            (is) => Promise.resolve(is ? without.delete(one.key) : without.add(one.key)),
            `take ${one.key}`,
          )
        ),
      ),
      part(
        more.importLeft,
        ...left.map((one) => says(one)),
        ...(is_cut ? [says(...fill(more.importCut, { chat: bdi(cut_off) }))] : []),
        says(more.leftContacts),
      ),
      ...(me ? [] : [name.element, hint(more.importMeHint)]),
      ...(is_zoned ? [] : [zone.element, hint(more.importZoneHint)]),
      buttons(
        button(more.importNow, async () => {
          if (without.size === chats.length) throw new Error("no-chat-chosen");
          await take({
            ...from,
            me: name.input.value.trim(),
            zone: zone.input.value.trim(),
            without: [...without],
          });
        }, "chief"),
      ),
    ],
  });
}

/** @param {ChatSurvey} one */
function about({ messages, first_at, last_at, people, files }) {
  return [
    many("importCount", messages, more),
    many("people", people),
    ...(messages ? [span(first_at, last_at)] : []),
    ...(files ? [many("importFiles", files, more)] : []),
  ];
}

/** @param {Export & { me: string, zone: string, without: string[] }} what */
function take(what) {
  return wait(
    more.importBegin,
    more.importGoes,
    () => store.ask("import", what),
    (result) => {
      goBack(); // the preview
      goBack(); // the choice of an export
      showDone(result);
    },
  );
}

/** @param {{ messages: number } | null} result nothing, if it was stopped */
function showDone(result) {
  show({
    title: more.importBegin,
    build: () => [
      make(
        "p",
        { role: "status" },
        result ? many("importDone", result.messages, more) : more.importStopped,
      ),
      hint(more.importsHint),
      buttons(button(words.done, () => Promise.resolve(goBack()), "chief")),
    ],
  });
}
