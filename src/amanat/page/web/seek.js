/** Search in the open conversation: one result after the other, and marks on what was found. */

import { make } from "./dom.js";
import { iconButton } from "./icons.js";
import { line as sentence } from "./phrase.js";
import { number, words } from "./words.js";

/** @import { Line } from "./line.js" */
/** @import { ChatHistory } from "./history.js" */
/** @import { Found } from "./find.js" */

/** How long after the last key the client is asked. */
const TYPING_MS = 40;
/** So many results the client gives at once: if there are as many, it may have more. */
const PAGE = 200;
/** The most characters to look for. */
const MOST = 200;
/** What the style sheet calls the marks. */
const MARKS = "found";

export class Seek {
  #line;
  #history;
  #leave;
  #refused;
  #chat = "";
  #box = /** @type {HTMLInputElement} */ (make("input", {
    type: "search",
    autocomplete: "off",
    spellcheck: false,
    dir: "auto",
    maxLength: MOST,
    placeholder: words.seek,
    ariaLabel: words.seek,
  }));
  #count = make("p", { role: "status" });
  #older = iconButton("older", words.seekOlder, () => void this.#go(1));
  #newer = iconButton("newer", words.seekNewer, () => void this.#go(-1));
  #bar = make("div", { className: "seek", role: "search", ariaLabel: words.seek, hidden: true });
  /** @type {Found[]} the results, the last to arrive first */
  #all = [];
  #hasMore = false;
  #at = 0;
  #timer = 0;
  /** How many times something else was looked for: an answer may come too late. */
  #turn = 0;

  /**
   * @param {Line} line @param {ChatHistory} history
   * @param {{ leave: () => void, refused: (why: unknown) => void, chooseDay: () => void }} ways what
   *   is done once it is closed, what says why a result is not shown, and what leads to a day
   */
  constructor(line, history, { leave, refused, chooseDay }) {
    this.#line = line;
    this.#history = history;
    this.#leave = leave;
    this.#refused = refused;
    const day = iconButton("day", words.toDay, chooseDay);
    const close = iconButton("close", words.close, () => this.end());
    this.#bar.append(this.#box, this.#count, this.#older, this.#newer, day, close);
    history.parentElement?.before(this.#bar);
    this.#box.addEventListener("input", () => this.#look());
    this.#bar.addEventListener("keydown", (event) => this.#key(event));
    history.addEventListener("drawn", () => this.#mark());
  }

  get isOn() {
    return !this.#bar.hidden;
  }

  /** @param {string} chat the conversation that is open now; empty: none */
  open(chat) {
    this.#chat = chat;
    this.#close();
  }

  begin() {
    this.#bar.hidden = false;
    this.#box.focus();
    this.#box.select();
  }

  /** Whether this element is where one writes what to look for. @param {EventTarget | null} one */
  isBox(one) {
    return one === this.#box;
  }

  end() {
    this.#close();
    this.#leave();
  }

  #close() {
    this.#bar.hidden = true;
    this.#box.value = "";
    this.#look();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.isComposing) return;
    const isBack = event.key === "ArrowDown" || (event.key === "Enter" && event.shiftKey);
    if (event.key === "Escape") this.end();
    else if (event.target !== this.#box) return;
    else if (isBack) void this.#go(-1);
    else if (event.key === "ArrowUp" || event.key === "Enter") void this.#go(1);
    else return;
    event.preventDefault();
  }

  #look() {
    clearTimeout(this.#timer);
    this.#turn++;
    this.#all = [];
    this.#hasMore = false;
    if (this.#box.value.trim()) this.#timer = setTimeout(() => void this.#begin(), TYPING_MS);
    this.#show();
  }

  async #begin() {
    const turn = this.#turn;
    await this.#ask();
    if (turn !== this.#turn) return;
    this.#at = 0;
    await this.#arrive();
  }

  /** Ask for results, or for those after the last one. */
  async #ask() {
    const turn = this.#turn, before = this.#all.at(-1)?.row ?? null;
    /** @type {Found[]} */
    const found = await this.#line.ask("search", {
      words: this.#box.value.trim(),
      chat: this.#chat,
      many: PAGE,
      before,
    }).catch(() => []); // no word in it yet, or the line is gone
    if (turn !== this.#turn) return;
    this.#all.push(...found);
    this.#hasMore = found.length >= PAGE;
  }

  /** Go to an older result, or to a newer one. @param {1 | -1} way */
  async #go(way) {
    const turn = this.#turn;
    if (this.#hasMore && this.#at + way >= this.#all.length) await this.#ask();
    const at = Math.max(0, Math.min(this.#at + way, this.#all.length - 1));
    if (turn !== this.#turn || at === this.#at) return;
    this.#at = at;
    await this.#arrive();
  }

  async #arrive() {
    this.#show();
    const one = this.#all[this.#at];
    if (one) await this.#history.show(one.id).catch(this.#refused);
  }

  #show() {
    const many = this.#all.length, isAsked = this.#box.value.trim() !== "";
    this.#count.textContent = many
      ? sentence(this.#hasMore ? words.seekAtMore : words.seekAt, {
        n: number.format(this.#at + 1),
        many: number.format(many),
      })
      : isAsked
      ? words.nothingFound
      : "";
    this.#older.toggleAttribute("disabled", !this.#hasMore && this.#at >= many - 1);
    this.#newer.toggleAttribute("disabled", !many || this.#at === 0);
    this.#mark();
  }

  /** Mark what was found in the messages that are in the page. */
  #mark() {
    if (!("highlights" in CSS)) return;
    const found = new Map(this.#all.map((one) => [one.id, one]));
    const ranges = !found.size ? [] : this.#history.entries.flatMap(({ message, article }) => {
      const one = found.get(message.id), text = article.querySelector(":scope > p");
      return one && text && one.text === message.text ? rangesOf(text, one) : [];
    });
    if (ranges.length) CSS.highlights.set(MARKS, new Highlight(...ranges));
    else CSS.highlights.delete(MARKS);
  }
}

/** Where the marks of a text are in its element. @param {Element} element @param {Found} found */
function rangesOf(element, { text, marks }) {
  const characters = [...text]; // marks count characters, and ranges do not
  return marks.map(([from, to]) => {
    const start = characters.slice(0, from).join("").length;
    const range = document.createRange();
    range.setStart(...place(element, start));
    range.setEnd(...place(element, start + characters.slice(from, to).join("").length));
    return range;
  });
}

/**
 * The node in which a place of a text is, and where in it.
 * @param {Element} element @param {number} at
 * @returns {[Node, number]}
 */
function place(element, at) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let rest = at;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const length = node.textContent?.length ?? 0;
    if (rest <= length) return [node, rest];
    rest -= length;
  }
  return [element, element.childNodes.length];
}
