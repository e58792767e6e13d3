/** Completes a member's name after an at sign. What comes of it is text like any other. */

import { make } from "./dom.js";
import { words } from "./words.js";

/** @import { Line } from "./line.js" */

const MOST = 6;
/** An @ at the beginning of a word, and what stands between it and the caret. */
const BEGUN = /(?:^|\s)@([^@\n]{0,40})$/u;

export class Mention {
  #box;
  #line;
  #chat = "";
  /** @type {string[]} */
  #people = [];
  /** @type {string[]} */
  #found = [];
  #at = 0;
  #list = make("div", {
    id: "mention",
    className: "mention",
    role: "listbox",
    ariaLabel: words.membersToName,
    hidden: true,
  });

  /** @param {HTMLTextAreaElement} box @param {Line} line */
  constructor(box, line) {
    this.#box = box;
    this.#line = line;
    box.before(this.#list);
    box.addEventListener("blur", () => this.close());
    this.#list.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the box keeps the focus
      const at = [...this.#list.children].indexOf(/** @type {Element} */ (event.target));
      if (at >= 0) this.#take(this.#found[at] ?? "");
    });
  }

  /** @param {string} chat the group whose members' names are completed; empty: none */
  open(chat) {
    this.close();
    this.#chat = chat;
    this.#people = [];
  }

  get isOpen() {
    return !this.#list.hidden;
  }

  close() {
    this.#list.hidden = true;
    this.#box.removeAttribute("aria-activedescendant");
    this.#box.removeAttribute("aria-controls");
  }

  /** Look at what stands before the caret. */
  async look() {
    const begun = this.#begun();
    if (begun === undefined || !this.#chat) {
      this.close();
      return;
    }
    const chat = this.#chat;
    if (!this.#people.length) {
      const details = await this.#line.ask("details", { chat }).catch(() => null);
      if (chat !== this.#chat) return;
      this.#people = details?.people ?? [];
    }
    const wanted = (this.#begun() ?? "\0").toLocaleLowerCase();
    this.#found = this.#people.filter((one) => one.toLocaleLowerCase().startsWith(wanted))
      .slice(0, MOST);
    this.#at = 0;
    this.#show();
  }

  #begun() {
    const { value, selectionStart, selectionEnd } = this.#box;
    if (selectionStart !== selectionEnd) return undefined;
    return BEGUN.exec(value.slice(0, selectionStart))?.[1];
  }

  #show() {
    if (!this.#found.length) {
      this.close();
      return;
    }
    this.#list.replaceChildren(...this.#found.map((name, i) =>
      make("div", {
        id: `mention-${i}`,
        role: "option",
        dir: "auto",
        ariaSelected: String(i === this.#at),
      }, name)
    ));
    this.#list.hidden = false;
    this.#box.setAttribute("aria-controls", "mention");
    this.#box.setAttribute("aria-activedescendant", `mention-${this.#at}`);
  }

  /** @param {string} name */
  #take(name) {
    const end = this.#box.selectionStart, start = end - (this.#begun()?.length ?? 0);
    this.#box.setRangeText(`${name} `, start, end, "end");
    this.close();
    this.#box.dispatchEvent(new Event("input", { bubbles: true }));
  }

  /** Do what a key means while names are offered; whether it did. @param {KeyboardEvent} event */
  key(event) {
    if (!this.isOpen || event.ctrlKey || event.altKey || event.metaKey) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      this.#at = (this.#at + step + this.#found.length) % this.#found.length;
      this.#show();
    } else if ((event.key === "Enter" && !event.shiftKey) || event.key === "Tab") {
      this.#take(this.#found[this.#at] ?? "");
    } else return false;
    event.preventDefault();
    return true;
  }
}
