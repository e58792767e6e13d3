/** Some messages chosen together: a click adds one or takes it away, Shift adds all between. */

import { make } from "./dom.js";
import { compare } from "./message.js";
import { form, line } from "./phrase.js";
import { number, words } from "./words.js";

/** @import { Message } from "./line.js" */
/** @import { Entry } from "./message.js" */
/** @import { ChatHistory } from "./history.js" */

export class Selection {
  #history;
  /** @type {Map<string, Message>} */
  #chosen = new Map();
  /** The message from which Shift reaches. */
  #from = "";
  /** @type {Message | undefined} the message from which the mouse is drawn */
  #first;
  /** @type {Map<string, Message>} what was chosen before that */
  #base = new Map();
  #hasMarks = false;
  #forward;
  #count = make("b", { role: "status" });
  #bar = make("div", { className: "selecting", role: "toolbar", hidden: true });

  /**
   * @param {ChatHistory} history
   * @param {Record<"forward" | "copy" | "remove", (all: Message[]) => void>} actions
   */
  constructor(history, actions) {
    this.#history = history;
    const button = (/** @type {string} */ label, /** @type {() => void} */ act, isBad = false) => {
      const made = make("button", { type: "button", className: isBad ? "bad" : "" }, label);
      made.addEventListener("click", act);
      return made;
    };
    this.#forward = button(words.forward, () => actions.forward(this.all()));
    this.#bar.ariaLabel = words.selecting;
    this.#bar.append(
      this.#count,
      this.#forward,
      button(words.copy, () => {
        actions.copy(this.all());
        this.end();
      }),
      button(words.deleteTexts, () => actions.remove(this.all()), true),
      button(words.cancel, () => this.end()),
    );
    history.parentElement?.after(this.#bar);
    history.addEventListener("drawn", () => this.#mark());
    history.addEventListener("removed", (event) => {
      if (event instanceof CustomEvent && this.#chosen.delete(event.detail)) this.#show();
    });
  }

  get isOn() {
    return !this.#bar.hidden;
  }

  /** The chosen messages, in their order. */
  all() {
    return [...this.#chosen.values()].sort(compare);
  }

  /** @param {Entry} entry @param {boolean} isRange */
  toggle({ message }, isRange) {
    const entries = this.#history.entries;
    const from = entries.findIndex((one) => one.message.id === this.#from);
    const to = entries.findIndex((one) => one.message.id === message.id);
    if (isRange && from >= 0 && to >= 0) {
      for (const one of entries.slice(Math.min(from, to), Math.max(from, to) + 1)) {
        this.#chosen.set(one.message.id, one.message);
      }
    } else if (!this.#chosen.delete(message.id)) this.#chosen.set(message.id, message);
    this.#from = message.id;
    this.#show();
  }

  /** Choose from this message on, beside those that are chosen. @param {Entry} entry */
  beginSpan({ message }) {
    this.#base = new Map(this.#chosen);
    this.#first = message;
    this.#from = message.id;
  }

  /** Choose all between it and this one. Some of them may no longer be in the page. @param {Entry} entry */
  span({ message }) {
    const first = this.#first;
    if (!first) return;
    const ends = [first, message].sort(compare);
    const isWithin = (/** @type {Message} */ one) =>
      ends.every((end, place) => place ? compare(one, end) <= 0 : compare(one, end) >= 0);
    const here = this.#history.entries.map((one) => one.message);
    const within = [...this.#chosen.values(), ...here].filter(isWithin);
    this.#chosen = new Map(this.#base);
    for (const one of within) this.#chosen.set(one.id, one);
    this.#show();
  }

  end() {
    this.#chosen.clear();
    this.#from = "";
    this.#show();
  }

  #show() {
    const many = this.#chosen.size;
    this.#bar.hidden = !many;
    this.#forward.hidden = this.all().every((one) => one.deleted);
    this.#history.classList.toggle("is-selecting", many > 0);
    this.#count.textContent = line(form("chosen", many), {
      many: number.format(many),
    });
    this.#mark();
  }

  #mark() {
    if (!this.isOn && !this.#hasMarks) return;
    this.#hasMarks = this.isOn;
    for (const one of this.#history.entries) {
      const isChosen = this.#chosen.has(one.message.id);
      one.row.classList.toggle("chosen", isChosen);
      if (isChosen) one.article.setAttribute("aria-description", words.chosen);
      else one.article.removeAttribute("aria-description");
    }
  }
}
