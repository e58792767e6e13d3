/** The ways back to where one reads: the button to the end, and the word of what came above. */

import { make } from "./dom.js";
import { icon } from "./icons.js";
import { form, line } from "./phrase.js";
import { number, words } from "./words.js";

/**
 * @typedef {{ toEnd: () => void, show: (id: string) => void }} Ways
 */

export class Jumps {
  #ways;
  /** @type {string[]} the messages from which one has jumped */
  #from = [];
  /** @type {string[]} the messages that came above the view */
  #earlier = [];
  /** How many texts are unread, apart from these. */
  #unseen = 0;
  #count = make("span", { className: "count", hidden: true });
  #down = make(
    "button",
    { type: "button", className: "down", hidden: true },
    this.#count,
    icon("down"),
  );
  #up = make("button", { type: "button", className: "up", hidden: true });

  /** @param {Element} stream where they float @param {Ways} ways */
  constructor(stream, ways) {
    this.#ways = ways;
    this.#down.addEventListener("click", () => this.#goDown());
    this.#up.addEventListener("click", () => {
      const id = this.#earlier.shift();
      this.#label();
      if (id) ways.show(id);
    });
    stream.append(this.#up, this.#down);
    this.#label();
  }

  clear() {
    this.#from = [];
    this.#earlier = [];
    this.#unseen = 0;
    this.#label();
  }

  /** One jumps away from a message. @param {string} id */
  leave(id) {
    this.#from.push(id);
  }

  /** A repaired message came above the view. @param {string} id */
  earlier(id) {
    this.#earlier.push(id);
    this.#label();
  }

  /** What came above and is on the screen now needs no word. @param {Set<string>} ids */
  saw(ids) {
    if (!this.#earlier.some((id) => ids.has(id))) return;
    this.#earlier = this.#earlier.filter((id) => !ids.has(id));
    this.#label();
  }

  /** @param {boolean} isAtEnd @param {number} unseen how many texts are unread */
  at(isAtEnd, unseen) {
    const below = Math.max(0, unseen - this.#earlier.length);
    if (isAtEnd) this.#from = [];
    if (this.#down.hidden !== isAtEnd) this.#down.hidden = isAtEnd;
    if (below === this.#unseen) return;
    this.#unseen = below;
    this.#label();
  }

  #goDown() {
    const id = this.#from.pop();
    if (id) this.#ways.show(id);
    else this.#ways.toEnd();
  }

  #label() {
    const many = this.#unseen, earlier = this.#earlier.length;
    this.#count.hidden = !many;
    this.#count.textContent = number.format(many);
    this.#down.ariaLabel = this.#down.title = many
      ? line(form("down", many), {
        many: number.format(many),
      })
      : words.down;
    this.#up.hidden = !earlier;
    const sentence = form("earlier", earlier);
    this.#up.textContent = `↑ ${line(sentence, { many: number.format(earlier) })}`;
  }
}
