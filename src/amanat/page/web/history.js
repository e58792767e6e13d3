/**
 * The messages of one conversation. A window of them is in the page, and two spacers stand for the
 * others, so a long conversation costs no more than a short one.
 */

import { find, make } from "./dom.js";
import { FloatingDay } from "./floating.js";
import { Jumps } from "./jumps.js";
import { compare, Entry, label } from "./message.js";
import { Places } from "./places.js";
import { Reading } from "./reading.js";
import { words } from "./words.js";

/** @import { Line, Message, Stretch } from "./line.js" */
/** @import { Place } from "./places.js" */

const PAGE = 30;
const MOST_ROWS = 4 * PAGE;
/** The most messages of one answer. */
const MOST_MESSAGES = 200;
/** How near to an edge, in heights of the view, more is asked for. */
const NEAR = 1.5;
/** How near to the end, in pixels, one is at it. */
const AT_END_PX = 40;
/** Firefox draws nothing beyond some 17.9 million pixels. */
const MOST_PX = 12e6;
/** How often lives and days are looked at. */
const TICK_MS = 30_000;
const FLASH_MS = 1600;

export class ChatHistory extends HTMLElement {
  #above = make("div");
  #below = make("div");
  #day = new FloatingDay();
  /** What comes after the last message. */
  #after = make("div", { className: "after" });
  /** Says what has just come. The messages themselves are silent, since older ones load, too. */
  #voice = make("p", { className: "unseen", "aria-live": "polite" });
  /** @type {Entry[]} */
  #shown = [];
  #before = 0;
  #total = 0;
  #newest = 0;
  #height = 64;
  /** The height of what is on the screen. */
  #view = 0;
  #isAsking = false;
  #isRefreshing = false;
  #isStale = false;
  #chat = "";
  #me = "";
  #unread = "";
  /** @type {Entry | undefined} the message that Tab reaches */
  #current;
  #places = new Places();
  /** @type {Line | undefined} */
  #line;
  /** @type {Reading | undefined} */
  #reading;
  /** @type {Jumps | undefined} */
  #jumps;

  connectedCallback() {
    this.ariaLabel = words.messages;
    this.ariaLive = "off";
    this.replaceChildren(this.#day.element, this.#above, this.#below, this.#after);
    this.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.addEventListener("focusin", (event) => this.rove(this.entryOf(event.target)));
    document.addEventListener("visibilitychange", () => this.#see());
    setInterval(() => this.#tick(), TICK_MS);
    new ResizeObserver(() => this.#resized()).observe(this);
  }

  /** @param {Line} line */
  begin(line) {
    this.#line = line;
    this.#reading = new Reading(line, () => {
      if (this.#shown.some((one) => one.message.expires_at !== null)) void this.renew();
    });
    const stream = this.parentElement ?? document.body;
    stream.append(this.#voice);
    this.#jumps = new Jumps(stream, {
      toEnd: () => void this.toEnd().catch(() => {}),
      show: (id) => void this.show(id).catch(() => {}), // it is gone
    });
    this.#hear("message", (told) => this.#put(told.message));
    this.#hear("gone", ({ row }) => {
      if (row !== undefined) this.#remove(row); // without one, all of it is gone
    });
    this.#hear("progress", () => void this.renew());
    line.addEventListener("away", () => {
      this.#isAsking = false;
    });
  }

  /** @param {string} what @param {(told: any) => void} use */
  #hear(what, use) {
    this.#line?.addEventListener(what, (event) => {
      if (event instanceof CustomEvent && event.detail.chat === this.#chat) use(event.detail);
    });
  }

  /** @param {string} name our own name */
  setMe(name) {
    if (name === this.#me) return;
    this.#me = name;
    if (!this.#shown.length) return;
    this.#keeping(() => {
      for (const one of this.#shown) one.put(one.message, name);
    });
    void this.renew(); // reactions and quotes hold the name that their person has now
  }

  /**
   * Show a conversation: where one was in it, or else its first unread message, or its end.
   * @param {string} chat @param {boolean} hasUnread
   */
  async open(chat, hasUnread) {
    this.leave();
    this.#chat = chat;
    this.#unread = "";
    this.#current = undefined;
    this.#reading?.begin(chat);
    this.#jumps?.clear();
    const place = this.#places.take(chat);
    if (!place || !await this.#return(place)) await this.#begin(hasUnread ? "unread" : "newest");
  }

  /** @param {"unread" | "newest"} at */
  async #begin(at) {
    const found = await this.#ask({ at });
    if (!found) return;
    this.#unread = found.unread;
    this.#show(found);
    const divider = this.querySelector(".divider");
    if (divider) divider.scrollIntoView({ block: "center" });
    else this.scrollTop = this.scrollHeight;
    this.#scrolled();
  }

  /** Remember where one is, and show nothing of it: another conversation follows, or none. */
  leave() {
    this.#reading?.flush();
    const place = this.#place();
    if (place && !this.isAtEnd) this.#places.keep(this.#chat, place);
    this.#chat = "";
    this.#voice.textContent = "";
    this.#show({ messages: [], before: 0, total: 0, unread: "", newest: 0, unread_rows: [] });
  }

  /** Show the same again, because nobody knows what was told meanwhile. */
  async reload() {
    const place = this.#place();
    if (this.isAtEnd || !place || !await this.#return(place)) await this.#begin("unread");
  }

  /** @returns {Place | undefined} */
  #place() {
    const first = this.#firstVisible();
    return first && { id: first.message.id, offset: first.row.offsetTop - this.scrollTop };
  }

  /** @param {Place} place */
  async #return({ id, offset }) {
    const found = await this.#ask({ at: "around", message: id }).catch(() => undefined);
    if (!found) return false;
    this.#unread ||= found.unread;
    this.#show(found);
    const entry = this.#entry(id);
    if (!entry) return false;
    this.scrollTop = entry.row.offsetTop - offset;
    this.#scrolled();
    return true;
  }

  get isAtEnd() {
    return this.#isWhole && this.scrollHeight - this.scrollTop - this.clientHeight < AT_END_PX;
  }

  /** Whether the last message is in the page. */
  get #isWhole() {
    return this.#before + this.#shown.length >= this.#total;
  }

  // Going somewhere

  async toEnd() {
    if (!this.#isWhole) {
      const found = await this.#ask({ at: "newest" });
      if (!found) return;
      this.#show(found);
    }
    this.scrollTop = this.scrollHeight;
    this.#scrolled();
  }

  async toStart() {
    if (this.#before > 0) {
      const found = await this.#ask({ at: "share", of: 0 });
      if (!found) return;
      this.#show(found);
    }
    this.scrollTop = 0;
    this.#scrolled();
  }

  /**
   * Show a message, wherever it is. The button to the end returns to `from` first.
   * @param {string} id @param {string} [from]
   */
  async show(id, from) {
    if (!this.#entry(id)) {
      const found = await this.#ask({ at: "around", message: id });
      if (!found) return;
      this.#show(found);
    }
    const entry = this.#entry(id);
    if (!entry) return;
    if (from) this.#jumps?.leave(from);
    this.#point(entry, "center");
  }

  /** Show the first message of a day, or of the next one that has any. @param {number} since when it begins */
  async toDay(since) {
    const found = await this.#ask({ at: "day", since });
    const first = found?.messages.find((one) => one.sent_at >= since) ?? found?.messages.at(-1);
    if (!found || !first) return;
    if (!this.#entry(first.id)) this.#show(found);
    const entry = this.#entry(first.id);
    if (entry) this.#point(entry, "start");
  }

  /** When the first message was sent. */
  async begins() {
    const chat = this.#chat, where = { at: "share", of: 0 };
    /** @type {Stretch} */
    const found = await this.#line?.ask("history", { chat, where, many: 1 });
    return found.messages[0]?.sent_at ?? Date.now();
  }

  /** Let the person see a message that is here. @param {Entry} entry @param {"center" | "start"} block */
  #point(entry, block) {
    (block === "start" ? entry.row : entry.article).scrollIntoView({ block });
    entry.row.classList.add("flash");
    setTimeout(() => entry.row.classList.remove("flash"), FLASH_MS);
    this.rove(entry);
    this.#scrolled();
  }

  // The messages that are here

  /** @returns {readonly Entry[]} */
  get entries() {
    return this.#shown;
  }

  /** @param {string} id */
  #entry(id) {
    return this.#shown.find((one) => one.message.id === id);
  }

  /** The message to which something in the page belongs. @param {EventTarget | null} target */
  entryOf(target) {
    return target instanceof Node ? this.#shown.find((one) => one.row.contains(target)) : undefined;
  }

  /** The last message on the screen. */
  get lastVisible() {
    const end = this.scrollTop + this.clientHeight;
    return this.#shown.findLast((one) => one.row.offsetTop < end);
  }

  /** Let Tab reach this message, of all of them. @param {Entry | undefined} entry */
  rove(entry) {
    if (!entry || entry === this.#current) return;
    this.#current?.openControls(false);
    this.#current = entry;
    entry.openControls(true);
    entry.article.ariaLabel = label(entry.message);
  }

  /** @param {Entry} entry */
  focusOn(entry) {
    this.rove(entry);
    entry.article.scrollIntoView({ block: "nearest" });
    entry.article.focus({ preventScroll: true });
  }

  /** What stands after the last message. @param {Node[]} nodes */
  setAfter(nodes) {
    const follows = this.isAtEnd;
    this.#keeping(() => this.#after.replaceChildren(...nodes));
    if (follows) this.scrollTop = this.scrollHeight;
  }

  /** @param {Record<string, unknown>} where @returns {Promise<Stretch | undefined>} */
  async #ask(where) {
    const chat = this.#chat;
    const found = await this.#line?.ask("history", { chat, where, many: PAGE });
    if (chat !== this.#chat) return undefined;
    this.#reading?.set(found.unread_rows);
    return found;
  }

  /** @param {Stretch} found */
  #show(found) {
    for (const one of this.#shown) one.row.remove();
    this.#before = found.before;
    this.#total = found.total;
    this.#newest = found.newest;
    this.#shown = found.messages.map((message) => new Entry(message, this.#me));
    this.#above.after(...this.#shown.map((one) => one.row));
    this.#join(0, this.#shown.length);
    this.#current = undefined;
    this.#measure();
    this.#drawn();
  }

  /** Say that rows have come, gone or changed. */
  #drawn() {
    this.dispatchEvent(new Event("drawn"));
  }

  /** Say to these where they stand. @param {number} from @param {number} to */
  #join(from, to) {
    for (let i = Math.max(0, from); i < Math.min(to, this.#shown.length); i++) {
      const one = this.#shown[i];
      one?.join(this.#shown[i - 1]?.message, one.message.id === this.#unread);
    }
  }

  /** Ask for what is shown again: its delivery has come further, its place is another, or a name. */
  async renew() {
    this.#isStale = true;
    if (this.#isRefreshing) return;
    this.#isRefreshing = true;
    while (this.#isStale) {
      this.#isStale = false; // however much happens meanwhile, it is asked for once more
      await this.#refresh().catch(() => {});
    }
    this.#isRefreshing = false;
  }

  async #refresh() {
    const chat = this.#chat, middle = this.#shown[Math.floor(this.#shown.length / 2)];
    if (!middle) return;
    const many = Math.min(MOST_MESSAGES, this.#shown.length);
    const where = { at: "around", message: middle.message.id };
    /** @type {Stretch | undefined} */
    const found = await this.#line?.ask("history", { chat, where, many });
    const first = found?.messages[0];
    if (!found || !first || chat !== this.#chat) return;
    const changed = found.messages.flatMap((message) => {
      const here = this.#entry(message.id);
      return here && JSON.stringify(here.message) !== JSON.stringify(message)
        ? [{ here, message }]
        : [];
    });
    this.#keeping(() => {
      for (const { here, message } of changed) here.put(message, this.#me);
      if (changed.length) this.#join(0, this.#shown.length);
      const at = this.#shown.findIndex((one) => one.message.id === first.id);
      if (at >= 0) this.#before = Math.max(0, found.before - at);
      this.#count(found);
    });
    for (const { message } of changed) this.#say(message);
  }

  /**
   * Take the number of all from an answer. If it counts a message that was not told yet and is not
   * in the answer, that message is counted once it is told.
   * @param {Stretch} found
   */
  #count({ messages, newest, total }) {
    if (newest > this.#newest && !messages.some((one) => one.row > this.#newest)) return;
    this.#newest = newest;
    this.#total = total;
  }

  /** A message was told: it is new, or has changed. @param {Message} message */
  #put(message) {
    const here = this.#entry(message.id);
    if (here) {
      this.#keeping(() => here.put(message, this.#me));
      this.#say(message);
      return;
    }
    const isNew = message.row > this.#newest, follows = this.isAtEnd;
    if (isNew) {
      this.#newest = message.row;
      this.#total++;
      this.#reading?.add(message);
    }
    const at = this.#shown.findLastIndex((one) => compare(one.message, message) < 0) + 1;
    const isAbove = at === 0 && this.#before > 0, isBelow = at === this.#shown.length;
    if (isBelow && this.#before + this.#shown.length + 1 !== this.#total) {
      this.#space(); // others that are not here stand between
      if (message.own && isNew) void this.toEnd().catch(() => {});
    } else if (!isAbove) this.#insert(message, at);
    else if (isNew) this.#keeping(() => this.#before++);
    const entry = this.#entry(message.id);
    if (entry && (follows || (message.own && isBelow))) this.scrollTop = this.scrollHeight;
    else if (isNew && !message.own) {
      const isOver = entry && entry.row.offsetTop + entry.row.offsetHeight <= this.scrollTop;
      if (isAbove || isOver) this.#jumps?.earlier(message.id);
    }
    if (isNew && isBelow && !message.own) this.#announce(message);
    this.#scrolled();
  }

  /** @param {Message} message @param {number} at */
  #insert(message, at) {
    this.#keeping(() => {
      const entry = new Entry(message, this.#me);
      (this.#shown[at]?.row ?? this.#below).before(entry.row);
      this.#shown.splice(at, 0, entry);
      this.#join(at, at + 2);
    });
    const over = Math.max(0, this.#shown.length - MOST_ROWS);
    if (over) {
      this.#keeping(() => this.isAtEnd || at > PAGE ? this.#drop(over, 0) : this.#drop(0, over));
    }
  }

  /** Say that a message has changed. @param {Message} message */
  #say(message) {
    this.dispatchEvent(new CustomEvent("changed", { detail: message }));
  }

  /** @param {Message} message */
  #announce(message) {
    if (document.visibilityState === "visible") this.#voice.textContent = label(message);
  }

  /** A message is gone. @param {number} row */
  #remove(row) {
    this.#reading?.drop(row);
    const at = this.#shown.findIndex((one) => one.message.row === row);
    const entry = this.#shown[at];
    if (!entry) {
      void this.renew(); // for the numbers of those that are not here
      return;
    }
    const hadFocus = entry.row.contains(document.activeElement);
    this.dispatchEvent(new CustomEvent("removed", { detail: entry.message.id }));
    this.#keeping(() => {
      this.#shown.splice(at, 1);
      entry.row.remove();
      this.#total--;
      this.#join(at, at + 1);
    });
    const next = this.#shown[at] ?? this.#shown[at - 1];
    if (hadFocus && next) this.focusOn(next);
    this.#scrolled();
  }

  #measure() {
    const first = this.#shown[0]?.row, last = this.#shown.at(-1)?.row;
    if (first && last && this.#shown.length > 9) {
      this.#height = (last.offsetTop - first.offsetTop) / (this.#shown.length - 1);
    }
    // Whole pixels, because a place to scroll to is rounded and the roundings would add up.
    this.#height = Math.round(Math.min(this.#height, MOST_PX / Math.max(1, this.#total)));
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
    const first = this.#firstVisible();
    const at = first ? this.#shown.indexOf(first) : -1;
    // If the change takes the first one away, the next one stays.
    const anchors = this.#shown.slice(at, at + 2).map((one) => ({
      one,
      top: one.article.getBoundingClientRect().top,
    }));
    change();
    this.#space();
    const anchor = anchors.find(({ one }) => one.row.isConnected);
    if (anchor) this.scrollTop += anchor.one.article.getBoundingClientRect().top - anchor.top;
    this.#drawn();
  }

  /** The first message of which something is on the screen, by halves: rows stand in order. */
  #firstVisible() {
    const top = this.scrollTop;
    let from = 0, to = this.#shown.length;
    while (from < to) {
      const middle = (from + to) >> 1, row = this.#shown[middle]?.row;
      if (row && row.offsetTop + row.offsetHeight > top) to = middle;
      else from = middle + 1;
    }
    return this.#shown[from];
  }

  /** The box below has grown, or the window: what is at the lower edge stays there. */
  #resized() {
    const grown = this.clientHeight - this.#view;
    this.#view = this.clientHeight;
    this.scrollTop -= grown;
    this.#scrolled();
  }

  #scrolled() {
    this.#see();
    this.#jumps?.at(this.isAtEnd, this.#reading?.unseen ?? 0);
    const first = this.#firstVisible();
    if (first) {
      // Where the day begins its name is there already.
      const isUnderName = first.row.offsetTop + first.article.offsetTop > this.scrollTop;
      this.#day.show(first.message.sent_at, !this.isAtEnd && !isUnderName);
    }
    void this.#look();
  }

  async #look() {
    const first = this.#shown[0], last = this.#shown.at(-1);
    if (this.#isAsking || !first || !last) return;
    const view = this.clientHeight, top = this.scrollTop;
    const start = this.#above.offsetTop + this.#above.offsetHeight, end = this.#below.offsetTop;
    /** @type {Record<string, unknown>} */
    let where;
    /** @type {(found: Stretch) => void} */
    let use;
    if (top + view < start || top > end && !this.#isWhole) {
      where = { at: "share", of: Math.min(1, top / Math.max(1, this.scrollHeight - view)) };
      use = (found) => this.#jump(found, top);
    } else if (this.#before > 0 && top - start < NEAR * view) {
      where = { at: "before", position: first.message.position };
      use = (found) => this.#keeping(() => this.#extend(found, true));
    } else if (!this.#isWhole && end - top - view < NEAR * view) {
      where = { at: "after", position: last.message.position };
      use = (found) => this.#keeping(() => this.#extend(found, false));
    } else {
      return;
    }
    this.#isAsking = true;
    try {
      const found = await this.#ask(where);
      if (found) use(found);
    } catch {
      return; // the line is gone: it asks again when it is back
    } finally {
      this.#isAsking = false;
    }
    this.#scrolled();
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
    const more = found.messages.filter((one) => !this.#entry(one.id))
      .map((message) => new Entry(message, this.#me));
    const rows = more.map((one) => one.row);
    this.#count(found);
    if (isAbove) {
      this.#above.after(...rows);
      this.#shown.unshift(...more);
      this.#before = found.before;
      this.#join(0, more.length + 1);
      this.#drop(0, Math.max(0, this.#shown.length - MOST_ROWS));
    } else {
      const from = this.#shown.length;
      this.#below.before(...rows);
      this.#shown.push(...more);
      this.#join(from, this.#shown.length);
      this.#drop(Math.max(0, this.#shown.length - MOST_ROWS), 0);
    }
  }

  /** @param {number} above @param {number} below how many rows leave the page at either end */
  #drop(above, below) {
    for (const { row } of this.#shown.splice(0, above)) row.remove();
    this.#before += above;
    for (const { row } of this.#shown.splice(this.#shown.length - below, below)) row.remove();
  }

  /** Note what is on the screen: nothing is read that nobody could see. */
  #see() {
    if (document.visibilityState !== "visible") return;
    const first = this.#firstVisible();
    if (!first) return;
    const end = this.scrollTop + this.clientHeight;
    const visible = [];
    for (let i = this.#shown.indexOf(first); i < this.#shown.length; i++) {
      const one = this.#shown[i];
      if (!one || one.row.offsetTop + one.row.offsetHeight > end + 1) break;
      visible.push(one.message);
    }
    this.#reading?.saw(visible.map((one) => one.row));
    this.#jumps?.saw(new Set(visible.map((one) => one.id)));
  }

  /** Time goes by: lives become shorter, and today becomes yesterday. */
  #tick() {
    if (document.visibilityState !== "visible") return;
    this.#keeping(() => {
      for (const one of this.#shown) one.tick();
      this.#join(0, this.#shown.length);
    });
  }
}

customElements.define("chat-history", ChatHistory);

export const history = find("chat-history", ChatHistory);
