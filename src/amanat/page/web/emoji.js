/** Emoji by their names: as the person's language calls them, and as Unicode does. */

import { make } from "./dom.js";
import { fold } from "./find.js";
import { emoji as everyday, words } from "./words.js";

/** @import { Line } from "./line.js" */

/** Asks for the form that is a picture, of what would be drawn as text. */
const AS_PICTURE = "\ufe0f";

export class EmojiNames {
  label = words.emojiToName;
  /** A colon at the beginning of a word, and at least two letters of a name. */
  begun = /(?:^|\s)(:([\p{L}\p{M}\u200c_-]{2,30}))$/u;
  #line;
  /** @type {{ emoji: string, names: string[] }[]} the everyday ones first */
  #all = [];

  /** @param {Line} line */
  constructor(line) {
    this.#line = line;
  }

  /** @param {string} typed */
  async find(typed) {
    if (!this.#all.length) await this.#fetch();
    const wanted = fold(typed.replace(/[_-]/gu, " "));
    /** @type {Map<string, string>} */
    const found = new Map();
    // The names that begin so come before those of which a later word does.
    for (const begins of [`^`, ` `]) {
      for (const { emoji, names } of this.#all) {
        const name = names.find((one) =>
          begins === "^" ? one.startsWith(wanted) : one.includes(` ${wanted}`)
        );
        if (name !== undefined && !found.has(emoji)) found.set(emoji, name);
      }
    }
    return [...found].map(([emoji, name]) => ({
      insert: emoji,
      shown: [make("span", { className: "emoji" }, emoji), ` ${name}`],
    }));
  }

  async #fetch() {
    /** @type {[string, string][]} */
    const named = await this.#line.ask("emoji").catch(() => []);
    const known = named.filter(([one]) => /^\p{Emoji}$/u.test(one));
    this.#all = [
      ...Object.entries(everyday).map(([emoji, names]) => ({
        emoji,
        names: names.split(",").map((one) => fold(one.trim())),
      })),
      ...known.map(([one, name]) => ({
        emoji: /^\p{Emoji_Presentation}$/u.test(one) ? one : one + AS_PICTURE,
        names: [name],
      })),
    ];
  }
}
