/** The day of what is on the screen: it stands at the top while one scrolls. */

import { dayName } from "./days.js";
import { make } from "./dom.js";

/** How long after a scroll it stays. */
const STAYS_MS = 1200;

export class FloatingDay {
  #name = make("span");
  element = make("div", { className: "day floating", ariaHidden: "true" }, this.#name);
  #timer = 0;

  /** @param {number} at a time of that day @param {boolean} isNeeded */
  show(at, isNeeded) {
    this.element.dataset.at = String(at);
    const name = dayName(at);
    if (this.#name.textContent !== name) this.#name.textContent = name;
    this.element.classList.toggle("is-shown", isNeeded);
    this.#stay();
  }

  /** Stay a while, and for as long as the pointer is on it. */
  #stay() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.element.matches(":hover")) this.#stay();
      else this.element.classList.remove("is-shown");
    }, STAYS_MS);
  }
}
