/** Where one was in each conversation. It is kept in the tab alone, and ends with it. */

/** @typedef {{ id: string, offset: number }} Place a message, and how far below the upper edge */

/** Most conversations whose place is kept. */
const MOST = 200;

export class Places {
  /** @type {Map<string, Place>} */
  #all = new Map();

  /** @param {string} chat @param {Place} place */
  keep(chat, place) {
    this.#all.set(chat, place);
    const [oldest] = this.#all.keys();
    if (this.#all.size > MOST && oldest) this.#all.delete(oldest);
  }

  /** The place that was kept, once. @param {string} chat */
  take(chat) {
    const place = this.#all.get(chat);
    this.#all.delete(chat);
    return place;
  }
}
