/** Completes a word in a box by the offers above it. The result is text like any other. */

import { make } from "./dom.js";

const MOST = 8;

/**
 * @typedef {{ insert: string, shown: (Node | string)[] }} Offer what is written, and how it looks
 * @typedef {{
 *   label: string, begun: RegExp, find: (wanted: string) => Offer[] | Promise<Offer[]>,
 * }} Source what is offered once `begun` finds, at the caret, what is to be replaced and in it what
 *   was typed of a name
 */

export class Completion {
  #box;
  #sources;
  /** @type {Offer[]} */
  #found = [];
  #at = 0;
  /** How many characters before the caret are replaced. */
  #length = 0;
  /** How many times something else was looked for: an answer may come too late. */
  #turn = 0;
  #list = make("div", { id: "offers", className: "offered", role: "listbox", hidden: true });

  /** @param {HTMLTextAreaElement} box @param {Source[]} sources */
  constructor(box, sources) {
    this.#box = box;
    this.#sources = sources;
    box.before(this.#list);
    box.addEventListener("blur", () => this.close());
    this.#list.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the box keeps the focus
      const option = event.target instanceof Element ? event.target.closest("[role=option]") : null;
      const at = [...this.#list.children].findIndex((one) => one === option);
      if (at >= 0) this.#take(at);
    });
  }

  get isOpen() {
    return !this.#list.hidden;
  }

  close() {
    this.#turn++;
    this.#list.hidden = true;
    this.#box.removeAttribute("aria-activedescendant");
    this.#box.removeAttribute("aria-controls");
  }

  /** Look at what stands before the caret. */
  async look() {
    const turn = ++this.#turn, begun = this.#begun();
    const found = begun ? await begun.source.find(begun.wanted) : [];
    if (turn !== this.#turn) return;
    if (!begun || !found.length) {
      this.close();
      return;
    }
    this.#found = found.slice(0, MOST);
    this.#length = begun.length;
    this.#at = 0;
    this.#list.ariaLabel = begun.source.label;
    this.#show();
  }

  #begun() {
    const { value, selectionStart, selectionEnd } = this.#box;
    if (selectionStart !== selectionEnd) return undefined;
    for (const source of this.#sources) {
      const [, replaced, wanted] = source.begun.exec(value.slice(0, selectionStart)) ?? [];
      if (replaced !== undefined) return { source, wanted: wanted ?? "", length: replaced.length };
    }
    return undefined;
  }

  #show() {
    this.#list.replaceChildren(...this.#found.map(({ shown }, i) =>
      make("div", {
        id: `offer-${i}`,
        role: "option",
        dir: "auto",
        ariaSelected: String(i === this.#at),
      }, ...shown)
    ));
    this.#list.hidden = false;
    this.#box.setAttribute("aria-controls", "offers");
    this.#box.setAttribute("aria-activedescendant", `offer-${this.#at}`);
  }

  /** @param {number} at */
  #take(at) {
    const end = this.#box.selectionStart;
    this.#box.setRangeText(this.#found[at]?.insert ?? "", end - this.#length, end, "end");
    this.close();
    this.#box.dispatchEvent(new Event("input", { bubbles: true }));
  }

  /** Do what a key means while something is offered; whether it did. @param {KeyboardEvent} event */
  key(event) {
    if (!this.isOpen || event.ctrlKey || event.altKey || event.metaKey) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      this.#at = (this.#at + step + this.#found.length) % this.#found.length;
      this.#show();
    } else if ((event.key === "Enter" && !event.shiftKey) || event.key === "Tab") {
      this.#take(this.#at);
    } else return false;
    event.preventDefault();
    return true;
  }
}
