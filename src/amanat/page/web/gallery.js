/** The pictures and other files of a conversation, the newest first. */

import { bytes, nameOf } from "./attached.js";
import { moment, shortMoment } from "./days.js";
import { make } from "./dom.js";
import { icon } from "./icons.js";
import { drawHints } from "./hint.js";
import { hint } from "./parts.js";
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
  const list = make("div", { className: "gallery" });
  const end = make("div"); // whoever sees it sees the next ones, too
  /** @type {Message | undefined} */
  let last;
  let isAsking = false;
  let isAll = false;
  const watch = new IntersectionObserver((seen) => {
    if (seen.some((one) => one.isIntersecting)) void more().catch(() => {});
  }, { rootMargin: "400px" });

  async function more() {
    if (isAsking || isAll) return;
    isAsking = true;
    try {
      /** @type {Message[]} */
      const found = await store.ask("files", { chat, before: last?.position ?? null, many: MANY });
      last = found.at(-1) ?? last;
      list.append(...found.map((one) => made(chat, one)));
      drawHints(list);
      watch.unobserve(end);
      isAll = !found.length;
      if (!isAll) watch.observe(end); // which tells anew whether it is seen
      else if (!last) list.append(hint(words.galleryEmpty));
      for (const one of found) await fill(chat, one, list);
    } finally {
      isAsking = false;
    }
  }

  show({
    title: words.gallery,
    build: async () => {
      if (!last) await more();
      watch.observe(end);
      return [list, end];
    },
    end: () => watch.disconnect(),
  });
}

/** @param {string} chat @param {Message} message */
function made(chat, message) {
  const { id, file, text } = message;
  if (!file) return "";
  const toMessage = () => {
    leave();
    store.open(chat, id);
  };
  const by = `${message.own ? words.you : message.sender}${words.comma}${moment(message.sent_at)}`;
  if (file.kind === "picture") {
    return make(
      "button",
      {
        type: "button",
        className: "tile",
        title: by,
        "data-key": id,
        onclick: file.here ? () => view(store, chat, message) : toMessage,
      },
      make("canvas", { "data-hint": file.hint }),
      file.outline
        ? make("img", { alt: text || words.picture, "data-small": id })
        : make("span", { className: "spoken" }, words.picture),
    );
  }
  return make(
    "button",
    { type: "button", className: "way", title: by, "data-key": id, onclick: toMessage },
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
