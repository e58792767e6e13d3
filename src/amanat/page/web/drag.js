/** Messages chosen by the mouse: pressed in the margin beside them, and drawn over others. */

/** @import { ChatHistory } from "./history.js" */
/** @import { Entry } from "./message.js" */
/** @import { Selection } from "./selection.js" */

/** How near to the upper or lower edge the history moves along, in pixels. */
const EDGE_PX = 24;
/** How far it moves then, in each picture of the screen. */
const STEP_PX = 12;

export class Drag {
  #history;
  #selection;
  /** @type {Entry | undefined} the message beside which it began */
  #from;
  /** Whether it has reached a message. */
  #hasChosen = false;
  #y = 0;

  /** @param {ChatHistory} history @param {Selection} selection */
  constructor(history, selection) {
    this.#history = history;
    this.#selection = selection;
    history.addEventListener("pointerdown", (event) => this.#begin(event));
    history.addEventListener("mousedown", (event) => {
      if (this.#from) event.preventDefault(); // no letters are chosen meanwhile
    });
    addEventListener("pointermove", ({ clientY }) => this.#move(clientY), { passive: true });
    for (const ends of ["pointerup", "pointercancel", "blur"]) {
      addEventListener(ends, () => (this.#from = undefined));
    }
    // The press that ends it is no click on a message.
    history.addEventListener("click", (event) => {
      if (this.#hasChosen) event.stopImmediatePropagation();
      this.#hasChosen = false;
    }, { capture: true });
  }

  /** @param {PointerEvent} event */
  #begin(event) {
    this.#hasChosen = false;
    const { target } = event;
    if (event.pointerType !== "mouse" || event.button !== 0 || !(target instanceof Element)) return;
    const entry = this.#history.entryOf(target);
    if (!entry || target.closest("article, button")) return;
    this.#from = entry;
    this.#y = event.clientY;
  }

  /** @param {number} y */
  #move(y) {
    const from = this.#from;
    if (!from || y === this.#y) return;
    const isFirst = !this.#hasChosen;
    this.#y = y;
    if (isFirst) {
      const { top, bottom } = from.article.getBoundingClientRect();
      if (!this.#hasLeft(top, bottom)) return;
      this.#hasChosen = true;
      this.#selection.beginSpan(from);
      this.#follow();
    }
    this.#choose();
  }

  /** Whether the pointer has come beyond the message beside which it was pressed. @param {number} top @param {number} bottom */
  #hasLeft(top, bottom) {
    return this.#y < top || this.#y > bottom;
  }

  #choose() {
    const to = this.#entryAt(this.#y);
    if (to) this.#selection.span(to);
  }

  /** The message beside a height of the window, or the one nearest to it. @param {number} y */
  #entryAt(y) {
    const { entries } = this.#history;
    return entries.find((one) => one.row.getBoundingClientRect().bottom > y) ?? entries.at(-1);
  }

  /** Move the history along for as long as the pointer is at an edge. */
  #follow() {
    if (!this.#from) return;
    const { top, bottom } = this.#history.getBoundingClientRect();
    const way = Number(this.#y > bottom - EDGE_PX) - Number(this.#y < top + EDGE_PX);
    if (way) {
      this.#history.scrollBy(0, way * STEP_PX);
      this.#choose();
    }
    requestAnimationFrame(() => this.#follow());
  }
}
