/** The pictures and other files of a conversation, the newest first, and the way to its links. */

import { bytes, nameOf } from "./attached.js";
import { moment, shortMoment } from "./days.js";
import { make } from "./dom.js";
import { icon } from "./icons.js";
import { drawHints } from "./hint.js";
import { more } from "./more.js";
import { hint, way } from "./parts.js";
import { leave, show } from "./sheet.js";
import { addressOf } from "./shown.js";
import { store } from "./store.js";
import { view } from "./viewer.js";
import { words } from "./words.js";

/** @import { Message } from "./line.js" */

/** How many are asked for at once. */
const MANY = 30;

/** @param {string} chat */
export function showGallery(chat) {
  const links = way([more.links], () => {
    void import("./linked.js").then(({ showLinks }) => showLinks(chat));
  }, "links");
  grow({
    chat,
    title: words.gallery,
    empty: words.galleryEmpty,
    ask: (where) => store.ask("files", where),
    above: [links],
    made: (one) => [made(chat, one)],
    after: async (found, list) => {
      drawHints(list);
      for (const one of found) await fill(chat, one, list);
    },
  });
}

/** Leave for a message. @param {string} chat @param {string} id */
export function toMessage(chat, id) {
  leave();
  store.open(chat, id);
}

/**
 * Show a list of messages that grows when its end is seen.
 * @param {{
 *   chat: string, title: string, empty: string, above?: Node[],
 *   ask: (where: { chat: string, before: string | null, many: number }) => Promise<Message[]>,
 *   made: (one: Message) => (Node | string)[],
 *   after?: (found: Message[], list: Element) => Promise<void>,
 * }} of `ask` asks for the messages before a position; `made` is what stands for one, and `after` is
 *   called when some have come
 */
export function grow({ chat, title, empty, ask, above = [], made, after }) {
  const list = make("div", { className: "gallery" });
  const end = make("div"); // whoever sees it sees the next ones, too
  /** @type {Message | undefined} */
  let last;
  let isAsking = false;
  let isAll = false;
  const watch = new IntersectionObserver((seen) => {
    if (seen.some((one) => one.isIntersecting)) void next().catch(() => {});
  }, { rootMargin: "400px" });

  async function next() {
    if (isAsking || isAll) return;
    isAsking = true;
    try {
      const found = await ask({ chat, before: last?.position ?? null, many: MANY });
      last = found.at(-1) ?? last;
      list.append(...found.flatMap(made));
      watch.unobserve(end);
      isAll = !found.length;
      if (!isAll) watch.observe(end); // which tells anew whether it is seen
      else if (!list.childElementCount) list.append(hint(empty));
      await after?.(found, list);
    } finally {
      isAsking = false;
    }
  }

  show({
    title,
    build: async () => {
      if (!last) await next();
      watch.observe(end);
      return [...above, list, end];
    },
    end: () => watch.disconnect(),
  });
}

/** @param {string} chat @param {Message} message */
function made(chat, message) {
  const { id, file, text } = message;
  if (!file) return "";
  const go = () => toMessage(chat, id);
  const by = `${message.own ? words.you : message.sender}${words.comma}${moment(message.sent_at)}`;
  if (file.kind === "picture") {
    return make(
      "button",
      {
        type: "button",
        className: "tile",
        title: by,
        "data-key": id,
        onclick: file.here ? () => view(store, chat, message) : go,
      },
      make("canvas", { "data-hint": file.hint }),
      file.outline
        ? make("img", { alt: text || words.picture, "data-small": id })
        : make("span", { className: "spoken" }, words.picture),
    );
  }
  return make(
    "button",
    { type: "button", className: "way", title: by, "data-key": id, onclick: go },
    icon("file"),
    make("bdi", {}, nameOf(file)),
    make(
      "small",
      {},
      make("bdi", {}, bytes(file.size)), // each in its own direction
      " · ",
      make("bdi", {}, shortMoment(message.sent_at)),
    ),
  );
}

/** Let the preview of a picture be shown. @param {string} chat @param {Message} one @param {Element} list */
async function fill(chat, { id }, list) {
  const image = list.querySelector(`[data-small="${id}"]`);
  if (!(image instanceof HTMLImageElement)) return;
  const address = await addressOf(store, chat, id).catch(() => "");
  if (address) image.src = `${address}/preview`;
}
