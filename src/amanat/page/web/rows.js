/**
 * The rows of a conversation that are in the page, and two spacers that stand for the others. What
 * the person looks at stays where it is, whatever comes or goes around it.
 */

import { make } from "./dom.js";
import { Gaps } from "./gaps.js";
import { albumOf, compare, Entry } from "./message.js";

/** @import { Message, Stretch } from "./line.js" */

/** How many rows are fetched at once. */
export const PAGE = 30;
const MOST_ROWS = 4 * PAGE;
/** Firefox draws nothing beyond some 17.9 million pixels. */
const MOST_PX = 12e6;

export class Rows {
  above = make("div");
  below = make("div");
  gaps = new Gaps();
  /** @type {Entry[]} those that are in the page, in their order */
  all = [];
  /** How many messages stand before them. */
  before = 0;
  /** How many there are in all. */
  total = 0;
  /** Our own name. */
  me = "";
  /** The id of the first unread message when the conversation was opened. */
  unread = "";
  #height = 64;
  #view;
  #drawn;

  /** @param {HTMLElement} view what scrolls @param {() => void} drawn called when rows have come, gone or changed */
  constructor(view, drawn) {
    this.#view = view;
    this.#drawn = drawn;
  }

  /** Whether the last message is in the page. */
  get isWhole() {
    return this.before + this.all.length >= this.total;
  }

  /** The message with an id, if it is here. @param {string} id */
  find(id) {
    return this.all.find((one) => one.message.id === id);
  }

  /** The message to which something in the page belongs. @param {EventTarget | null} target */
  of(target) {
    return target instanceof Node ? this.all.find((one) => one.row.contains(target)) : undefined;
  }

  /** The last message on the screen. */
  get lastVisible() {
    const end = this.#view.scrollTop + this.#view.clientHeight;
    return this.all.findLast((one) => one.row.offsetTop < end);
  }

  /** The messages of which all is on the screen. */
  visible() {
    const end = this.#view.scrollTop + this.#view.clientHeight, first = this.firstVisible();
    const from = first ? this.all.indexOf(first) : this.all.length;
    const part = this.all.slice(from);
    const to = part.findIndex(({ row }) => row.offsetTop + row.offsetHeight > end + 1);
    return (to < 0 ? part : part.slice(0, to)).map((one) => one.message);
  }

  /** Show these in place of all others. @param {Stretch} found */
  show(found) {
    for (const one of this.all) one.row.remove();
    this.before = found.before;
    this.total = found.total;
    this.all = found.messages.map((message) => new Entry(message, this.me));
    this.above.after(...this.all.map((one) => one.row));
    this.join(0, this.all.length);
    arrange(this.all);
    this.gaps.place(this.all, this.before === 0);
    this.#measure();
    this.#drawn();
  }

  /** Where a message belongs among these. @param {Message} message */
  placeOf(message) {
    return this.all.findLastIndex((one) => compare(one.message, message) < 0) + 1;
  }

  /** @param {Message} message @param {number} at @param {boolean} isAtEnd whether one is at the end */
  insert(message, at, isAtEnd) {
    this.keep(() => {
      const entry = new Entry(message, this.me);
      (this.all[at]?.row ?? this.below).before(entry.row);
      this.all.splice(at, 0, entry);
      this.join(at, at + 2);
    });
    const over = Math.max(0, this.all.length - MOST_ROWS);
    if (over) this.keep(() => isAtEnd || at > PAGE ? this.#drop(over, 0) : this.#drop(0, over));
  }

  /** Take one away; the one that is in its place then, if there is any. @param {Entry} entry */
  remove(entry) {
    const at = this.all.indexOf(entry);
    this.keep(() => {
      this.all.splice(at, 1);
      entry.row.remove();
      this.total--;
      this.join(at, at + 1);
    });
    return this.all[at] ?? this.all[at - 1];
  }

  /** Show one in another form. @param {Entry} here @param {Message} message */
  put(here, message) {
    this.keep(() => here.put(message, this.me));
  }

  /** The first message of which something is on the screen, by halves: rows stand in order. */
  firstVisible() {
    const top = this.#view.scrollTop;
    let from = 0, to = this.all.length;
    while (from < to) {
      const middle = (from + to) >> 1, row = this.all[middle]?.row;
      if (row && row.offsetTop + row.offsetHeight > top) to = middle;
      else from = middle + 1;
    }
    return this.all[from];
  }

  /** Say to these where they stand. @param {number} from @param {number} to */
  join(from, to) {
    for (let i = Math.max(0, from); i < Math.min(to, this.all.length); i++) {
      const one = this.all[i];
      one?.join(this.all[i - 1]?.message, one.message.id === this.unread);
    }
  }

  /**
   * Change what is here, and let what the person looks at stay where it is.
   * @param {() => void} change
   */
  keep(change) {
    const first = this.firstVisible();
    const at = first ? this.all.indexOf(first) : -1;
    // If the change takes the first one away, the next one stays.
    const anchors = this.all.slice(at, at + 2).map((one) => ({
      one,
      top: one.article.getBoundingClientRect().top,
    }));
    change();
    arrange(this.all);
    this.gaps.place(this.all, this.before === 0);
    this.space();
    const anchor = anchors.find(({ one }) => one.row.isConnected);
    if (anchor) this.#view.scrollTop += anchor.one.article.getBoundingClientRect().top - anchor.top;
    this.#drawn();
  }

  #measure() {
    const first = this.all[0]?.row, last = this.all.at(-1)?.row;
    if (first && last && this.all.length > 9) {
      this.#height = (last.offsetTop - first.offsetTop) / (this.all.length - 1);
    }
    // Whole pixels, because a place to scroll to is rounded and the roundings would add up.
    this.#height = Math.round(Math.min(this.#height, MOST_PX / Math.max(1, this.total)));
    this.space();
  }

  /** Let the spacers be as high as what they stand for. */
  space() {
    const after = this.total - this.before - this.all.length;
    this.above.style.height = `${this.before * this.#height}px`;
    this.below.style.height = `${Math.max(0, after) * this.#height}px`;
  }

  /** Add those before or after these. @param {Stretch} found @param {boolean} isAbove */
  extend(found, isAbove) {
    const more = found.messages.filter((one) => !this.find(one.id))
      .map((message) => new Entry(message, this.me));
    const rows = more.map((one) => one.row);
    if (isAbove) {
      this.above.after(...rows);
      this.all.unshift(...more);
      this.before = found.before;
      this.join(0, more.length + 1);
      this.#drop(0, Math.max(0, this.all.length - MOST_ROWS));
    } else {
      const from = this.all.length;
      this.below.before(...rows);
      this.all.push(...more);
      this.join(from, this.all.length);
      this.#drop(Math.max(0, this.all.length - MOST_ROWS), 0);
    }
  }

  /** @param {number} above @param {number} below how many rows leave the page at either end */
  #drop(above, below) {
    for (const { row } of this.all.splice(0, above)) row.remove();
    this.before += above;
    for (const { row } of this.all.splice(this.all.length - below, below)) row.remove();
  }
}

/**
 * Give each of these rows its place in the grid of its album, if it has one: two pictures stand in
 * a line. A picture with words or an answer takes a whole line, and so does one that is left over.
 * @param {Entry[]} entries
 */
function arrange(entries) {
  let isBegun = false;
  for (const [at, one] of entries.entries()) {
    const next = entries[at + 1], isFirst = !isTogether(entries[at - 1], one);
    const hasNext = isTogether(one, next);
    if (isFirst) isBegun = false;
    if (isFirst && !hasNext) one.place("");
    else if (isBegun) {
      isBegun = false;
      one.place("end");
    } else {
      isBegun = hasNext && !isWide(one) && !isWide(next);
      one.place(isBegun ? "begin" : "wide");
    }
  }
}

/**
 * Whether a message stands in the grid of the one before.
 * @param {Entry | undefined} before @param {Entry | undefined} one
 */
function isTogether(before, one) {
  if (!before || !one?.row.classList.contains("follows")) return false;
  const album = albumOf(one.message);
  return album !== "" && album === albumOf(before.message);
}

/** @param {Entry | undefined} one */
function isWide(one) {
  return !one || one.message.text !== "" || one.message.quote !== null;
}
