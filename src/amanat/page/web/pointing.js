/** What the pointer and the keys do in a history. */

import { make } from "./dom.js";
import { icon } from "./icons.js";
import { follow } from "./links.js";
import { words } from "./words.js";

/** @import { Actions } from "./actions.js" */
/** @import { ChatHistory } from "./history.js" */
/** @import { Entry } from "./message.js" */
/** @import { Selection } from "./selection.js" */

/** How long a finger rests on a message until its menu opens. */
const LONG_PRESS_MS = 500;
/** How far a finger may move meanwhile, in pixels. */
const STILL_PX = 10;
/** With what one press reacts. */
const LIKE = "👍";

/** @param {string} className @param {string} label @param {Element | string} sign */
function button(className, label, sign) {
  return make("button", {
    type: "button",
    className,
    tabIndex: -1, // keys have the menu
    ariaLabel: label,
    title: label,
  }, make("span", { ariaHidden: "true" }, sign));
}

export class Pointing {
  #history;
  #actions;
  #selection;
  #like = button("like", `${words.react}: ${LIKE}`, LIKE);
  #reply = button("answer", words.reply, icon("reply"));
  #dots = button("dots", words.menu, icon("more"));
  /** These are there once: they are beside the message under the pointer. */
  #more = make(
    "div",
    { className: "quick", hidden: true },
    this.#like,
    this.#reply,
    this.#dots,
  );
  /** @type {Entry | undefined} */
  #under;
  #press = 0;
  #hasPressed = false;
  #pressedAt = { x: 0, y: 0 };

  /** @param {ChatHistory} history @param {Actions} actions @param {Selection} selection */
  constructor(history, actions, selection) {
    this.#history = history;
    this.#actions = actions;
    this.#selection = selection;
    history.append(this.#more);
    history.addEventListener("pointerover", (event) => {
      if (event.pointerType !== "touch") this.#hover(event.target);
    });
    history.addEventListener("pointerleave", () => this.#hide());
    history.addEventListener("focusin", (event) => this.#hover(event.target));
    history.addEventListener("drawn", () => this.#hide());
    history.addEventListener("click", (event) => this.#click(event));
    history.addEventListener("contextmenu", (event) => this.#context(event));
    history.addEventListener("keydown", (event) => this.#key(event));
    history.addEventListener("pointerdown", (event) => this.#down(event));
    // A press with Shift would choose letters from the last place on.
    history.addEventListener("mousedown", (event) => {
      if (event.shiftKey && history.entryOf(event.target)) event.preventDefault();
    });
    for (const ends of ["pointerup", "pointercancel", "scroll"]) {
      history.addEventListener(ends, () => clearTimeout(this.#press), { passive: true });
    }
    // The finger that is lifted from the menu presses nothing in it.
    history.addEventListener("touchend", (event) => {
      if (this.#hasPressed) event.preventDefault();
    });
    history.addEventListener("pointermove", ({ clientX, clientY }) => {
      const { x, y } = this.#pressedAt;
      if (Math.hypot(clientX - x, clientY - y) > STILL_PX) clearTimeout(this.#press);
    }, { passive: true });
  }

  /** @param {EventTarget | null} target */
  #hover(target) {
    if (target === this.#more || (target instanceof Node && this.#more.contains(target))) return;
    const entry = this.#history.entryOf(target);
    // The margin beside a message is for choosing with the mouse.
    const isOnBubble = target instanceof Element && target.closest("article") !== null;
    if (isOnBubble && entry === this.#under && !this.#more.hidden) return;
    if (!entry || !isOnBubble || this.#selection.isOn) {
      this.#hide();
      return;
    }
    this.#under = entry;
    const { own, deleted } = entry.message;
    this.#like.hidden = this.#reply.hidden = deleted;
    const { offsetTop, offsetLeft, offsetWidth } = entry.article;
    this.#more.hidden = false;
    // On the inner side of the bubble, in whichever direction the page goes.
    const isBefore = own === (document.dir !== "rtl");
    const width = this.#more.offsetWidth, most = this.#history.clientWidth - width;
    const x = Math.max(
      0,
      Math.min(entry.row.offsetLeft + offsetLeft + (isBefore ? -width : offsetWidth), most),
    );
    this.#more.style.translate = `${x}px ${entry.row.offsetTop + offsetTop}px`;
  }

  #hide() {
    this.#more.hidden = true;
    this.#under = undefined;
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const target = event.target instanceof Element ? event.target : null;
    if (target && this.#more.contains(target)) {
      if (this.#under) this.#quick(target, this.#under);
      return;
    }
    const entry = this.#history.entryOf(target);
    if (!entry || target?.closest(".day")) return;
    const isChoosing = event.ctrlKey || event.metaKey || event.shiftKey;
    if (this.#selection.isOn || (isChoosing && !target?.closest("a, button"))) {
      event.preventDefault();
      this.#selection.toggle(entry, event.shiftKey);
      return;
    }
    this.#use(target, entry);
  }

  /** @param {Element} target one of the buttons beside a message @param {Entry} entry */
  #quick(target, entry) {
    if (this.#like.contains(target)) void this.#actions.react(entry.message, LIKE);
    else if (this.#reply.contains(target)) this.#actions.reply(entry.message);
    else if (this.#dots.contains(target)) {
      const { left, bottom } = this.#dots.getBoundingClientRect();
      this.#actions.offer(entry, { x: left, y: bottom });
    }
  }

  /** @param {Element | null} target @param {Entry} entry */
  #use(target, entry) {
    const { id, quote } = entry.message;
    const deed = target?.closest("button[data-deed]");
    if (deed instanceof HTMLElement) {
      void this.#actions.useFile(entry.message, deed.dataset.deed ?? "");
    }
    const link = target?.closest("a.url"), chip = target?.closest(".chip");
    if (link) void follow(link.textContent ?? "");
    else if (chip instanceof HTMLElement) {
      void this.#actions.react(entry.message, chip.dataset.emoji ?? "");
    } else if (quote && target?.closest("button.quote")) {
      void this.#history.show(quote.id, id).catch((why) => this.#actions.refused(why));
    }
  }

  /** @param {MouseEvent} event */
  #context(event) {
    const entry = this.#history.entryOf(event.target);
    if (!entry) return;
    event.preventDefault();
    clearTimeout(this.#press);
    if (this.#selection.isOn) this.#selection.toggle(entry, event.shiftKey);
    else this.#actions.offer(entry, { x: event.clientX, y: event.clientY });
  }

  /** @param {PointerEvent} event */
  #down(event) {
    clearTimeout(this.#press);
    this.#hasPressed = false;
    const entry = this.#history.entryOf(event.target);
    if (event.pointerType !== "touch" || !entry || this.#selection.isOn) return;
    const at = { x: event.clientX, y: event.clientY };
    this.#pressedAt = at;
    this.#press = setTimeout(() => {
      this.#hasPressed = true;
      this.#actions.offer(entry, at);
    }, LONG_PRESS_MS);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const history = this.#history, target = event.target;
    const entry = history.entryOf(target);
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const isOnBubble = target === history || target === entry?.article;
    if (event.key === "Home" && isOnBubble) void this.#end(history.toStart(), 0);
    else if (event.key === "End" && isOnBubble) void this.#end(history.toEnd(), -1);
    else if ((event.key === "ArrowUp" || event.key === "ArrowDown") && isOnBubble) {
      const at = entry ? history.entries.indexOf(entry) : -1;
      const next = entry
        ? history.entries[at + (event.key === "ArrowUp" ? -1 : 1)]
        : history.lastVisible;
      if (next) history.focusOn(next);
    } else if (event.key === "Enter" && target === entry?.article && entry) {
      const { left, bottom } = entry.article.getBoundingClientRect();
      const y = Math.min(bottom, history.getBoundingClientRect().bottom);
      if (this.#selection.isOn) this.#selection.toggle(entry, event.shiftKey);
      else this.#actions.offer(entry, { x: left, y });
    } else if (event.key === " " && this.#selection.isOn && entry) {
      this.#selection.toggle(entry, event.shiftKey);
    } else if (event.key === "Enter" && target instanceof Element && entry && target.closest("a")) {
      this.#use(target, entry);
    } else return;
    event.preventDefault();
  }

  /** Go to an end, and to its message. @param {Promise<void>} going @param {number} at */
  async #end(going, at) {
    const hadBubble = document.activeElement !== this.#history;
    await going.catch(() => {});
    const entry = this.#history.entries.at(at);
    if (hadBubble && entry) this.#history.focusOn(entry);
  }
}
