/** A picture as large as the window, and the way from it to those before and after it. */

import { moment } from "./days.js";
import { make } from "./dom.js";
import { icon } from "./icons.js";
import { addressOf } from "./shown.js";
import { words } from "./words.js";

/** @import { Line, Message } from "./line.js" */

/**
 * Show the picture of a message, which is here.
 * @param {Pick<Line, "ask">} line @param {string} chat @param {Message} message
 */
export function view(line, chat, message) {
  /** The picture before it, and the one after it. @type {(Message | undefined)[]} */
  let beside = [];
  const image = /** @type {HTMLImageElement} */ (make("img"));
  const said = make("p", { dir: "auto" });
  const ways = [-1, 1].map((step) =>
    make("button", {
      type: "button",
      className: "round",
      ariaLabel: step < 0 ? words.pictureBefore : words.pictureAfter,
      disabled: true,
      onclick: () => go(step),
    }, icon(step < 0 ? "back" : "on"))
  );
  const save = make("button", {
    type: "button",
    onclick: async () => {
      const files = await import("./files.js");
      await files.save(/** @type {Line} */ (line), chat, message.id).catch(() => {}); // it went meanwhile
    },
  }, words.fileSave);
  const close = make("button", {
    type: "button",
    autofocus: true,
    onclick: () => dialog.close(),
  }, words.close);
  const dialog = /** @type {HTMLDialogElement} */ (make(
    "dialog",
    { className: "large", ariaLabel: words.picture },
    image,
    said,
    make("div", { className: "buttons" }, ...ways, save, close),
  ));

  async function draw() {
    const mine = message;
    image.alt = mine.text || words.picture;
    said.textContent = `${mine.own ? words.you : mine.sender}${words.comma}${moment(mine.sent_at)}${
      mine.text ? `\n${mine.text}` : ""
    }`;
    image.src = await addressOf(line, chat, mine.id).catch(() => "");
    const found = await Promise.all([-1, 1].map((step) => next(line, chat, mine, step)))
      .catch(() => []);
    if (mine !== message) return;
    beside = found;
    for (const [at, way] of ways.entries()) {
      const isEnd = !beside[at];
      if (isEnd && document.activeElement === way) close.focus();
      Object.assign(way, { disabled: isEnd });
    }
  }

  /** @param {number} step to the picture before or after it */
  function go(step) {
    const found = beside[step < 0 ? 0 : 1];
    if (!found) return;
    beside = [];
    message = found;
    void draw();
  }

  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation(); // Esc is for it alone
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    go((event.key === "ArrowRight") === (document.dir !== "rtl") ? 1 : -1);
  });
  dialog.addEventListener("click", ({ target }) => {
    if (target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  void draw();
}

/**
 * The next picture of a conversation that is here, before a message or after it.
 * @param {Pick<Line, "ask">} line @param {string} chat @param {Message} from @param {number} step
 * @returns {Promise<Message | undefined>}
 */
async function next(line, chat, { position }, step) {
  const where = { [step < 0 ? "before" : "after"]: position };
  const [found] = await line.ask("files", { chat, pictures: true, ...where, many: 1 });
  return found;
}
