/**
 * The messages of one conversation. A window of them is in the page, and two spacers stand for the
 * others, so a long conversation costs no more than a short one.
 */

import { find, make } from "./dom.js";
import { clock, words } from "./words.js";

/** @import { Line, Message, Stretch } from "./line.js" */

const PAGE = 30;
const MOST_ROWS = 4 * PAGE;
/** How near to an edge, in heights of the view, more is asked for. */
const NEAR = 1.5;
/** Firefox draws nothing beyond some 17.9 million pixels. */
const MOST_PX = 12e6;
const LINK = /\bhttps?:\/\/[^\s<>"'\u202a-\u202e\u2066-\u2069]+/gu;

export class ChatHistory extends HTMLElement {
  #above = make("div");
  #below = make("div");
  /** @type {{ message: Message, row: HTMLElement }[]} */
  #shown = [];
  #before = 0;
  #total = 0;
  #height = 64;
  #isAsking = false;
  #chat = "";
  #unread = "";
  /** @type {Line | undefined} */
  #line;

  connectedCallback() {
    this.ariaLabel = words.messages;
    this.addEventListener("scroll", () => void this.#look(), { passive: true });
    document.addEventListener("visibilitychange", () => this.#see());
  }

  /** @param {Line} line */
  begin(line) {
    this.#line = line;
    line.addEventListener("message", (event) => {
      if (!(event instanceof CustomEvent) || event.detail.chat !== this.#chat) return;
      this.#put(event.detail.message);
    });
    line.addEventListener("gone", () => (this.#isAsking = false));
    line.addEventListener("progress", (event) => {
      if (event instanceof CustomEvent && event.detail.chat === this.#chat) void this.#again();
    });
  }

  /** @param {string} chat @param {Record<string, unknown>} [where] */
  async open(chat, where = { at: "unread" }) {
    this.#chat = chat;
    const found = await this.#ask(where);
    if (!found || chat !== this.#chat) return;
    this.#unread = found.unread;
    this.#show(found);
    const divider = this.querySelector(".divider");
    if (divider) divider.scrollIntoView({ block: "center" });
    else this.scrollTop = this.scrollHeight;
    this.#see();
  }

  get isAtEnd() {
    return this.#isWhole && this.scrollHeight - this.scrollTop - this.clientHeight < 40;
  }

  get #isWhole() {
    return this.#before + this.#shown.length >= this.#total;
  }

  /** @param {Record<string, unknown>} where @returns {Promise<Stretch | undefined>} */
  async #ask(where) {
    return await this.#line?.ask("history", { chat: this.#chat, where, many: PAGE });
  }

  /** @param {Stretch} found */
  #show(found) {
    this.#before = found.before;
    this.#total = found.total;
    this.#shown = found.messages.map((message) => ({ message, row: this.#row(message) }));
    this.replaceChildren(this.#above, ...this.#shown.map((one) => one.row), this.#below);
    this.#measure();
  }

  /** Ask for what is shown again: its delivery has come further. */
  async #again() {
    const first = this.#shown[0], chat = this.#chat;
    if (!first) return;
    const many = Math.min(200, this.#shown.length);
    const found = await this.#line?.ask("history", {
      chat,
      where: { at: "around", message: this.#shown[Math.floor(this.#shown.length / 2)]?.message.id },
      many,
    });
    if (chat !== this.#chat) return;
    for (const message of found?.messages ?? []) this.#put(message, { isNew: false });
  }

  /** @param {Message} message @param {{ isNew?: boolean }} [how] */
  #put(message, { isNew = true } = {}) {
    const here = this.#shown.find((one) => one.message.id === message.id);
    if (here) {
      const row = this.#row(message);
      this.#keeping(() => here.row.replaceWith(row));
      Object.assign(here, { message, row });
      return;
    }
    if (!isNew) return;
    const follows = this.isAtEnd, isWhole = this.#isWhole;
    if (message.own && !isWhole) {
      void this.open(this.#chat, { at: "newest" });
      return;
    }
    this.#total++;
    if (isWhole) {
      const row = this.#row(message);
      this.#below.before(row);
      this.#shown.push({ message, row });
      this.#drop(Math.max(0, this.#shown.length - MOST_ROWS), 0);
      if (follows || message.own) this.scrollTop = this.scrollHeight;
      this.#see();
    }
    this.#space();
  }

  /** @param {Message} one */
  #row(one) {
    const text = make("p", {}, ...(one.deleted ? [words.deleted] : pieces(one.text)));
    const foot = make(
      "footer",
      {},
      ...(one.edited ? [make("small", {}, words.edited)] : []),
      make("time", { dateTime: new Date(one.sent_at).toISOString() }, clock.format(one.sent_at)),
      ...(one.own ? [mark(one.state)] : []),
    );
    const reactions = [...new Set(Object.values(one.reactions))];
    const row = make(
      "article",
      { className: one.own ? "own" : "" },
      ...(one.own ? [] : [make("b", {}, make("bdi", {}, one.sender))]),
      ...(one.quote ? [make("blockquote", { dir: "auto" }, one.quote.text)] : []),
      text,
      ...(reactions.length ? [make("span", { className: "reactions" }, reactions.join(" "))] : []),
      foot,
    );
    if (one.id !== this.#unread) return row;
    return make("div", {}, make("div", { className: "divider" }, words.unread), row);
  }

  #measure() {
    const first = this.#shown[0]?.row, last = this.#shown.at(-1)?.row;
    if (first && last && this.#shown.length > 9) {
      this.#height = (last.offsetTop - first.offsetTop) / (this.#shown.length - 1);
    }
    this.#height = Math.min(this.#height, MOST_PX / Math.max(1, this.#total));
    this.#space();
  }

  #space() {
    const after = this.#total - this.#before - this.#shown.length;
    this.#above.style.height = `${this.#before * this.#height}px`;
    this.#below.style.height = `${Math.max(0, after) * this.#height}px`;
  }

  /**
   * Change what is here, and let what the person looks at stay where it is.
   * @param {() => void} change
   */
  #keeping(change) {
    const top = this.getBoundingClientRect().top;
    const anchor = this.#shown.find(({ row }) => row.getBoundingClientRect().bottom > top);
    const before = anchor?.row.getBoundingClientRect().top ?? 0;
    change();
    this.#space();
    if (anchor?.row.isConnected) this.scrollTop += anchor.row.getBoundingClientRect().top - before;
  }

  async #look() {
    const first = this.#shown[0], last = this.#shown.at(-1);
    if (this.#isAsking || !first || !last) return;
    const view = this.clientHeight, top = this.scrollTop;
    const start = this.#above.offsetHeight, end = this.#below.offsetTop;
    /** @type {Record<string, unknown>} */
    let where;
    /** @type {(found: Stretch) => void} */
    let use;
    if (top + view < start || top > end) {
      where = { at: "share", of: Math.min(1, top / Math.max(1, this.scrollHeight - view)) };
      use = (found) => this.#jump(found, top);
    } else if (this.#before > 0 && top - start < NEAR * view) {
      where = { at: "before", position: first.message.position };
      use = (found) => this.#keeping(() => this.#extend(found, true));
    } else if (!this.#isWhole && end - top - view < NEAR * view) {
      where = { at: "after", position: last.message.position };
      use = (found) => this.#keeping(() => this.#extend(found, false));
    } else {
      this.#see();
      return;
    }
    this.#isAsking = true;
    const chat = this.#chat;
    try {
      const found = await this.#ask(where);
      if (!found || chat !== this.#chat) return;
      use(found);
    } catch {
      return; // the line is gone: it asks again when it is back
    } finally {
      this.#isAsking = false;
    }
    void this.#look();
  }

  /** @param {Stretch} found @param {number} top */
  #jump(found, top) {
    this.#show(found);
    this.scrollTop = top;
    const first = this.#shown[0]?.row;
    const last = this.#shown.at(-1)?.row;
    if (first && (first.offsetTop > top + this.clientHeight || (last && last.offsetTop < top))) {
      first.scrollIntoView();
    }
  }

  /** @param {Stretch} found @param {boolean} isAbove */
  #extend(found, isAbove) {
    const more = found.messages.map((message) => ({ message, row: this.#row(message) }));
    const rows = more.map((one) => one.row);
    this.#total = found.total;
    if (isAbove) {
      this.#above.after(...rows);
      this.#shown.unshift(...more);
      this.#before = found.before;
      this.#drop(0, Math.max(0, this.#shown.length - MOST_ROWS));
    } else {
      this.#below.before(...rows);
      this.#shown.push(...more);
      this.#drop(Math.max(0, this.#shown.length - MOST_ROWS), 0);
    }
  }

  /** @param {number} above @param {number} below how many rows leave the page at either end */
  #drop(above, below) {
    for (const { row } of this.#shown.splice(0, above)) row.remove();
    this.#before += above;
    for (const { row } of this.#shown.splice(this.#shown.length - below, below)) row.remove();
  }

  /** Tell the client what was on the screen: nothing is read that nobody could see. */
  #see() {
    if (document.visibilityState !== "visible" || !this.isAtEnd) return;
    const row = Math.max(0, ...this.#shown.map((one) => one.message.row));
    if (row) void this.#line?.ask("seen", { chat: this.#chat, row }).catch(() => {});
  }
}

/** @param {string} text @returns {(Node | string)[]} */
function pieces(text) {
  const found = [];
  let from = 0;
  for (const { 0: link, index } of text.matchAll(LINK)) {
    found.push(
      text.slice(from, index),
      make("a", { href: link, target: "_blank", rel: "noopener noreferrer", dir: "ltr" }, link),
    );
    from = index + link.length;
  }
  return [...found, text.slice(from)];
}

const MARKS = { waiting: "◷", queued: "◷", sent: "✓", delivered: "✓✓", undelivered: "!" };

/** @param {string} state */
function mark(state) {
  const known = /** @type {keyof typeof MARKS} */ (state in MARKS ? state : "queued");
  return make("span", {
    className: "mark",
    role: "img",
    ariaLabel: words[known],
    title: words[known],
  }, MARKS[known]);
}

customElements.define("chat-history", ChatHistory);

export const history = find("chat-history", ChatHistory);
