/** The chats that the person brought along from other messengers: a list, a search, and reading. */

import { shortly, shortMoment } from "./days.js";
import { make } from "./dom.js";
import { excerpt } from "./find.js";
import { icon } from "./icons.js";
import { dotted, showImport, span, under, underWay } from "./importing.js";
import { events, kinds, more } from "./more.js";
import { button, buttons, confirm, field, hint, part, says, way } from "./parts.js";
import { bdi, fill, many } from "./phrase.js";
import { goBack, rebuild, show } from "./sheet.js";
import { store } from "./store.js";
import { words } from "./words.js";

/**
 * @typedef {{
 *   id: number, app: string, title: string, kind: string, me: string, messages: number,
 *   people: string[], first_at: number, last_at: number, goes_on_from: number,
 * }} Chat
 * @typedef {{
 *   row: number, chat: number, title: string, sender: string, is_own: boolean, at: number,
 *   edited_at: number | null, text: string, kind: string, extra: string, forwarded_from: string,
 *   quote?: { sender: string, kind: string, text: string } | null,
 * }} Said
 */

/** @typedef {Said & { marks: [number, number][] }} Hit */

const APPS = /** @type {Record<string, string>} */ ({ telegram: "Telegram", whatsapp: "WhatsApp" });
/** How many messages are asked for at once. */
const MANY = 50;
/** How long somebody has stopped typing before it is searched. */
const TYPING_MS = 250;

/**
 * The title and the rows of results among them, in the search of all conversations.
 * @param {Hit[]} hits @returns {[string, Node[]]}
 */
export function broughtRows(hits) {
  const rows = hits.map((one) =>
    make(
      "a",
      {
        href: "#",
        onclick: (/** @type {Event} */ event) => {
          event.preventDefault();
          showImported(one.chat, one.title, one);
        },
      },
      make("span", { className: "face face-0", ariaHidden: "true" }, icon("file")),
      make("b", {}, bdi(one.title)),
      make("time", {}, shortly(one.at)),
      make("p", { dir: "auto" }, ...excerpt(one)),
    )
  );
  return [more.imports, rows];
}

export function showImports() {
  const found = make("div"), search = field(more.importSearch, { type: "search" });
  let turn = 0;
  /** @type {number | undefined} */
  let asking;
  search.input.oninput = () => {
    clearTimeout(asking);
    const mine = ++turn, wanted = search.input.value.trim();
    asking = setTimeout(async () => {
      /** @type {Hit[]} */
      const hits = wanted
        ? await store.ask("search imported", { words: wanted, many: MANY }).catch(() => [])
        : [];
      if (mine !== turn) return;
      const rows = hits.map((one) =>
        way(
          [make("b", {}, bdi(one.title)), " ", ...excerpt(one), ...under(shortMoment(one.at))],
          () => showImported(one.chat, one.title, one),
          `hit ${one.row}`,
        )
      );
      found.replaceChildren(...(wanted && !rows.length ? [hint(words.nothingFound)] : rows));
    }, TYPING_MS);
  };
  show({
    title: more.imports,
    build: async () => {
      /** @type {{ chats: Chat[], under_way: { percent: number } | null }} */
      const { chats, under_way } = await store.ask("imported");
      return [
        hint(more.importsHint),
        ...(under_way ? [underWay(more.importGoes, under_way.percent, rebuild)] : []),
        buttons(
          button(
            more.importBegin,
            () => Promise.resolve(showImport()),
            chats.length ? "" : "chief", // Enter in the search would press it
          ),
        ),
        ...(chats.length ? [search.element, found] : [says(more.importNone)]),
        ...chats.map((one) =>
          way(
            [bdi(one.title || one.kind), ...under(...about(one))],
            () => showImported(one.id, one.title || one.kind),
            `chat ${one.id}`,
          )
        ),
        ...(chats.length
          ? [
            part(
              words.deleteTexts,
              buttons(
                button(
                  more.importDeleteAll,
                  () => remove(null, more.importDeleteAll, () => void rebuild()),
                  "bad",
                ),
              ),
            ),
          ]
          : []),
      ];
    },
  });
}

/** @param {Chat} one */
function about({ app, messages, first_at, last_at }) {
  return [
    APPS[app] ?? app,
    many("importCount", messages, more),
    ...(messages ? [span(first_at, last_at)] : []),
  ];
}

/** @param {number | null} chat @param {string} label @param {() => void} after */
function remove(chat, label, after) {
  return confirm(
    label,
    [more.importDeleteWhat],
    label,
    () => store.ask("delete imported", { chat }),
    after,
  );
}

/**
 * Show a chat: its end, or around one of its messages.
 * @param {number} id @param {string} title @param {Said} [at]
 */
function showImported(id, title, at) {
  const saved = make("p", { role: "status" });
  const list = make("div", { className: "brought" });
  const older = button(more.importOlder, () => grow("before"));
  const newer = button(more.importNewer, () => grow("after"));
  newer.hidden = !at;
  let first = at?.row, last = at?.row, isBegun = false;

  /** @param {"before" | "after"} way */
  async function grow(way) {
    const row = way === "before" ? first : last;
    /** @type {Said[]} */
    const found = await store.ask("imported messages", { chat: id, many: MANY, [way]: row });
    const articles = found.map(article);
    const edge = list.firstElementChild, top = edge?.getBoundingClientRect().top ?? 0;
    if (way === "before") list.prepend(...articles);
    else list.append(...articles);
    if (way === "before") first = found[0]?.row ?? first;
    if (way === "after" || last === undefined) last = found.at(-1)?.row ?? last;
    if (found.length < MANY) (way === "before" ? older : newer).hidden = true;
    const scrolled = list.closest(".body");
    if (way === "before" && edge && scrolled) { // nothing moves
      scrolled.scrollTop += edge.getBoundingClientRect().top - top;
    }
  }

  show({
    title,
    build: async () => {
      const { chats } = await store.ask("imported");
      const chat = chats.find((/** @type {Chat} */ one) => one.id === id);
      if (!chat) throw new Error("unknown-import");
      const { app, goes_on_from } = chat;
      if (!isBegun) {
        isBegun = true;
        if (at) list.append(article(at));
        await grow("before");
        if (at) await grow("after");
        setTimeout(() =>
          list.querySelector(at ? `[data-row="${at.row}"]` : ":last-child")
            ?.scrollIntoView({ block: at ? "center" : "end" })
        );
      }
      return [
        make("p", { className: "notice" }, ...fill(more.unverified, { app: APPS[app] ?? app })),
        hint(...dotted(about(chat))),
        ...(goes_on_from
          ? [way([more.goesOnFrom], () => showImported(goes_on_from, title), "before")]
          : []),
        older,
        list,
        newer,
        part(
          words.export,
          buttons(
            button(words.exportPage, () => save(id, "html", saved)),
            button(words.exportData, () => save(id, "json", saved)),
          ),
          hint(words.exportWhat),
          saved,
        ),
        part(
          words.deleteTexts,
          buttons(
            button(more.importDelete, () => remove(id, more.importDelete, goBack), "bad"),
          ),
        ),
      ];
    },
  });
}

/** @param {number} chat @param {"html" | "json"} form @param {Element} saved where it says so */
async function save(chat, form, saved) {
  const { file } = await store.ask("export imported", { chat, form });
  saved.replaceChildren(...fill(words.exportedTo, { file: make("code", { dir: "ltr" }, file) }));
}

/** A message, as the export has it. @param {Said} one */
function article(one) {
  const { row, sender, is_own, at, edited_at, text, kind, extra, forwarded_from } = one;
  const time = make("time", {}, shortMoment(at));
  if (kind === "service") {
    return make("p", { className: "hint", "data-row": row }, ...event(sender, extra), " · ", time);
  }
  const named = /** @type {Record<string, string>} */ (kinds), name = named[kind];
  const { quote } = one;
  return make(
    "article",
    { className: is_own ? "own" : "", "data-row": row },
    make("b", {}, bdi(sender || one.title)),
    ...(forwarded_from
      ? [make("small", {}, ...fill(more.importForwarded, { who: bdi(forwarded_from) }))]
      : []),
    ...(quote
      ? [
        make(
          "div",
          { className: "quote" },
          make("span", {}, bdi(quote.sender)),
          make("span", { dir: "auto" }, quote.text || (named[quote.kind] ?? "")),
        ),
      ]
      : []),
    ...(name ? [make("p", {}, make("small", {}, name), extra ? " " : "", bdi(extra))] : []),
    ...(text ? [make("p", {}, text)] : []),
    ...(!name && extra ? [make("p", {}, make("small", {}, extra))] : []),
    make("footer", {}, time, ...(edited_at === null ? [] : [" ", words.edited])),
  );
}

/** What happened, in words if it is known. @param {string} who @param {string} extra */
function event(who, extra) {
  const at = extra.indexOf(" "), code = at < 0 ? extra : extra.slice(0, at);
  const sentence = /** @type {Record<string, string>} */ (events)[code];
  if (!sentence || !who) return who ? [bdi(who), ": ", bdi(extra)] : [bdi(extra)];
  return fill(sentence, { who: bdi(who), what: at < 0 ? "" : bdi(extra.slice(at + 1)) });
}
