/**
 * What of a conversation was on the screen. The client marks as read all that arrived up to a row,
 * so it is told of a row only once every unread one before it was on the screen, too.
 */

/** @import { Line, Message } from "./line.js" */

/** How long after a look the client is told, so that a scroll is no row of commits. */
const TELL_MS = 150;
/** So many rows the client gives at once: if there are as many, it has more. */
const MOST_ROWS = 200;

export class Reading {
  #line;
  #chat = "";
  /** @type {number[]} the first unread rows, in the order in which they arrived */
  #unread = [];
  /** Whether there are more of them. */
  #isCut = false;
  /** @type {Set<number>} */
  #seen = new Set();
  #timer = 0;
  #told = () => {};

  /** @param {Line} line @param {() => void} told called after the client was told of a row */
  constructor(line, told) {
    this.#line = line;
    this.#told = told;
  }

  /** @param {string} chat */
  begin(chat) {
    this.flush();
    this.#chat = chat;
    this.set([]);
    this.#seen.clear();
  }

  /** @param {number[]} rows */
  set(rows) {
    this.#unread = rows;
    this.#isCut = rows.length >= MOST_ROWS;
  }

  /** How many unread texts were not on the screen. */
  get unseen() {
    return this.#unread.filter((row) => !this.#seen.has(row)).length;
  }

  /** A message came. @param {Message} message */
  add({ own, row }) {
    if (!own && !this.#isCut && !this.#unread.includes(row)) this.#unread.push(row);
  }

  /** A message is gone. @param {number} row */
  drop(row) {
    this.#unread = this.#unread.filter((one) => one !== row);
  }

  /** These rows are on the screen. @param {number[]} rows */
  saw(rows) {
    for (const row of rows) this.#seen.add(row);
    if (this.#unread[0] !== undefined && this.#seen.has(this.#unread[0])) {
      this.#timer ||= setTimeout(() => this.flush(), TELL_MS);
    }
  }

  /** Tell the client now. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const many = this.#unread.findIndex((row) => !this.#seen.has(row));
    const read = this.#unread.slice(0, many < 0 ? this.#unread.length : many);
    const row = read.at(-1), chat = this.#chat;
    if (row === undefined) return;
    this.#unread = this.#unread.slice(read.length);
    void this.#line.ask("seen", { chat, row }).then(({ unread_rows }) => {
      if (chat !== this.#chat) return;
      this.set(unread_rows);
      this.#told();
      this.saw([]);
    }).catch(() => {}); // the line is gone: what is unread is asked for again
  }
}
