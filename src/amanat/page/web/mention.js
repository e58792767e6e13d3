/** The names of a group's members, which are completed after an at sign. */

import { store } from "./store.js";
import { words } from "./words.js";

/** @import { Line } from "./line.js" */

export class Mention {
  label = words.membersToName;
  /** An @ at the beginning of a word, and what stands between it and the caret. */
  begun = /(?:^|\s)(@([^@\n]{0,40}))$/u;
  #line;
  #chat = "";
  /** @type {string[]} */
  #people = [];

  /** @param {Line} line */
  constructor(line) {
    this.#line = line;
  }

  /** @param {string} chat the group whose members' names are completed; empty: none */
  open(chat) {
    this.#chat = chat;
    this.#people = [];
  }

  /** Ask for them again. */
  renew() {
    this.#people = [];
  }

  /** @param {string} wanted */
  async find(wanted) {
    const chat = this.#chat;
    if (!this.#people.length && chat) {
      const details = await this.#line.ask("details", { chat }).catch(() => null);
      if (chat !== this.#chat) return [];
      const own = store.status?.name;
      this.#people = (details?.people ?? []).filter((/** @type {string} */ one) => one !== own);
    }
    const begun = wanted.toLocaleLowerCase();
    return this.#people.filter((one) => one.toLocaleLowerCase().startsWith(begun))
      .map((one) => ({ insert: `@${one} `, shown: [one] }));
  }
}
