/**
 * The history of one conversation. It asks the client for messages, follows their changes, and knows
 * where the person is in them and which of them were on the screen. Only some are in the page
 * (`rows.js`), so a long conversation costs no more than a short one.
 */

import { Carried } from "./carried.js";
import { find, make } from "./dom.js";
import { FloatingDay } from "./floating.js";
import { Jumps } from "./jumps.js";
import { label } from "./message.js";
import { Places } from "./places.js";
import { Reading } from "./reading.js";
import { PAGE, Rows } from "./rows.js";
import { showFiles } from "./shown.js";
import { words } from "./words.js";

/** @import { Line, Message, Stretch } from "./line.js" */
/** @import { Entry } from "./message.js" */
/** @import { Place } from "./places.js" */
/** @import { Missing } from "./store.js" */

/** The most messages of one answer. */
const MOST_MESSAGES = 200;
/** How near to an edge, in heights of the view, more is asked for. */
const NEAR = 1.5;
/** How near to the end, in pixels, one is at it. */
const AT_END_PX = 40;
/** How often lives and days are looked at. */
const TICK_MS = 30_000;
const FLASH_MS = 1600;

export class ChatHistory extends HTMLElement {
  #day = new FloatingDay();
  /** Says what has just come. The messages themselves are silent, since older ones load, too. */
  #voice = make("p", { className: "unseen", "aria-live": "polite" });
  #rows = new Rows(this, () => this.dispatchEvent(new Event("drawn")));
  #newest = 0;
  /** The height of what is on the screen. */
  #view = 0;
  #isAsking = false;
  #isRefreshing = false;
  #isStale = false;
  #chat = "";
  /** @type {Entry | undefined} the message that Tab reaches */
  #current;
  /** @type {Element | undefined} the row that was pointed at last */
  #flashed;
  #dims = 0;
  #places = new Places();
  /** @type {Line | undefined} */
  #line;
  /** @type {Reading | undefined} */
  #reading;
  /** @type {Jumps | undefined} */
  #jumps;
  /** @type {Carried | undefined} */
  #carried;

  connectedCallback() {
    this.ariaLabel = words.messages;
    this.ariaLive = "off";
    this.replaceChildren(
      this.#day.element,
      this.#rows.above,
      this.#rows.below,
      this.#rows.gaps.element,
    );
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
      if (this.#rows.all.some((one) => one.message.expires_at !== null)) void this.renew();
    });
    const stream = this.parentElement ?? document.body;
    stream.append(this.#voice);
    this.#jumps = new Jumps(stream, {
      toEnd: () => void this.toEnd().catch(() => {}),
      show: (id) => void this.show(id).catch(() => {}), // it is gone
    });
    const carried = this.#carried = new Carried(
      line,
      (id) => this.#putAgain(id),
      () => void this.toEnd().catch(() => {}),
    );
    this.append(carried.element);
    this.addEventListener("drawn", () => showFiles(line, this.#chat, this));
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
    if (name === this.#rows.me) return;
    this.#rows.me = name;
    if (!this.#rows.all.length) return;
    this.#rows.keep(() => {
      for (const one of this.#rows.all) one.put(one.message, name);
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
    this.#rows.unread = "";
    this.#current = undefined;
    this.#reading?.begin(chat);
    this.#jumps?.clear();
    const place = this.#places.take(chat);
    if (!place || !await this.#return(place)) await this.#begin(hasUnread ? "unread" : "newest");
    if (chat === this.#chat) void this.#carried?.open(chat);
  }

  /** @param {"unread" | "newest"} at */
  async #begin(at) {
    const found = await this.#ask({ at });
    if (!found) return;
    this.#rows.unread = found.unread;
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
    void this.#carried?.open("");
    this.#voice.textContent = "";
    this.#show({ messages: [], before: 0, total: 0, unread: "", newest: 0, unread_rows: [] });
  }

  /** Show the same again, because nobody knows what was told meanwhile. */
  async reload() {
    const place = this.#place();
    if (this.isAtEnd || !place || !await this.#return(place)) await this.#begin("unread");
    void this.#carried?.open(this.#chat);
  }

  /** @returns {Place | undefined} */
  #place() {
    const first = this.#rows.firstVisible();
    return first && { id: first.message.id, offset: first.row.offsetTop - this.scrollTop };
  }

  /** @param {Place} place */
  async #return({ id, offset }) {
    const found = await this.#ask({ at: "around", message: id }).catch(() => undefined);
    if (!found) return false;
    this.#rows.unread ||= found.unread;
    this.#show(found);
    const entry = this.#rows.find(id);
    if (!entry) return false;
    this.scrollTop = entry.row.offsetTop - offset;
    this.#scrolled();
    return true;
  }

  get isAtEnd() {
    return this.#rows.isWhole && this.scrollHeight - this.scrollTop - this.clientHeight < AT_END_PX;
  }

  // Going somewhere

  async toEnd() {
    if (!this.#rows.isWhole) {
      const found = await this.#ask({ at: "newest" });
      if (!found) return;
      this.#show(found);
    }
    this.scrollTop = this.scrollHeight;
    this.#scrolled();
  }

  async toStart() {
    if (this.#rows.before > 0) {
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
    if (!this.#rows.find(id)) {
      const found = await this.#ask({ at: "around", message: id });
      if (!found) return;
      this.#show(found);
    }
    const entry = this.#rows.find(id);
    if (!entry) return;
    if (from) this.#jumps?.leave(from);
    this.#point(entry, "center");
  }

  /** Show the first message of a day, or of the next one that has any. @param {number} since when it begins */
  async toDay(since) {
    const found = await this.#ask({ at: "day", since });
    const first = found?.messages.find((one) => one.sent_at >= since) ?? found?.messages.at(-1);
    if (!found || !first) return;
    if (!this.#rows.find(first.id)) this.#show(found);
    const entry = this.#rows.find(first.id);
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
    this.#flashed?.classList.remove("flash");
    this.#flashed = entry.row;
    this.#flashed.classList.add("flash");
    clearTimeout(this.#dims);
    this.#dims = setTimeout(() => this.#flashed?.classList.remove("flash"), FLASH_MS);
    this.rove(entry);
    this.#scrolled();
  }

  // The messages that are here

  /** @returns {readonly Entry[]} */
  get entries() {
    return this.#rows.all;
  }

  /** The message to which something in the page belongs. @param {EventTarget | null} target */
  entryOf(target) {
    return this.#rows.of(target);
  }

  /** The last message on the screen. */
  get lastVisible() {
    return this.#rows.lastVisible;
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

  /** The messages that exist and are not here. @param {Missing[]} missing */
  setMissing(missing) {
    const follows = this.isAtEnd;
    this.#rows.keep(() => this.#rows.gaps.set(missing));
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
    this.#newest = found.newest;
    this.#current = undefined;
    this.#rows.show(found);
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
    const chat = this.#chat, middle = this.#rows.all[Math.floor(this.#rows.all.length / 2)];
    if (!middle) return;
    const many = Math.min(MOST_MESSAGES, this.#rows.all.length);
    const where = { at: "around", message: middle.message.id };
    /** @type {Stretch | undefined} */
    const found = await this.#line?.ask("history", { chat, where, many });
    const first = found?.messages[0];
    if (!found || !first || chat !== this.#chat) return;
    const changed = found.messages.flatMap((message) => {
      const here = this.#rows.find(message.id);
      return here && JSON.stringify(here.message) !== JSON.stringify(message)
        ? [{ here, message }]
        : [];
    });
    this.#rows.keep(() => {
      for (const { here, message } of changed) here.put(message, this.#rows.me);
      if (changed.length) this.#rows.join(0, this.#rows.all.length);
      const at = this.#rows.all.findIndex((one) => one.message.id === first.id);
      if (at >= 0) this.#rows.before = Math.max(0, found.before - at);
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
    this.#rows.total = total;
  }

  /** A message was told: it is new, or has changed. @param {Message} message */
  #put(message) {
    const here = this.#rows.find(message.id);
    if (here) {
      this.#rows.put(here, message);
      this.#say(message);
      return;
    }
    const isNew = message.row > this.#newest, follows = this.isAtEnd;
    if (isNew) {
      this.#newest = message.row;
      this.#rows.total++;
      this.#reading?.add(message);
    }
    const at = this.#rows.placeOf(message);
    const isAbove = at === 0 && this.#rows.before > 0, isBelow = at === this.#rows.all.length;
    if (isBelow && this.#rows.before + this.#rows.all.length + 1 !== this.#rows.total) {
      this.#rows.space(); // others that are not here stand between
      if (message.own && isNew) void this.toEnd().catch(() => {});
    } else if (!isAbove) this.#rows.insert(message, at, this.isAtEnd);
    else if (isNew) this.#rows.keep(() => this.#rows.before++);
    const entry = this.#rows.find(message.id);
    if (entry && (follows || (message.own && isBelow))) this.scrollTop = this.scrollHeight;
    else if (isNew && !message.own) {
      const isOver = entry && entry.row.offsetTop + entry.row.offsetHeight <= this.scrollTop;
      if (isAbove || isOver) this.#jumps?.earlier(message.id);
    }
    if (isNew && isBelow && !message.own) this.#announce(message);
    this.#scrolled();
  }

  /** The file of a message has got on. @param {string} id */
  #putAgain(id) {
    const here = this.#rows.find(id);
    if (here) this.#rows.put(here, here.message);
  }

  /** The files that go up. */
  get carried() {
    return this.#carried;
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
    const entry = this.#rows.all.find((one) => one.message.row === row);
    if (!entry) {
      void this.renew(); // for the numbers of those that are not here
      return;
    }
    const hadFocus = entry.row.contains(document.activeElement);
    this.dispatchEvent(new CustomEvent("removed", { detail: entry.message.id }));
    const next = this.#rows.remove(entry);
    if (hadFocus && next) this.focusOn(next);
    this.#scrolled();
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
    const first = this.#rows.firstVisible();
    if (first) {
      // Where the day begins its name is there already.
      const isUnderName = first.row.offsetTop + first.article.offsetTop > this.scrollTop;
      this.#day.show(first.message.sent_at, !this.isAtEnd && !isUnderName);
    }
    void this.#look();
  }

  async #look() {
    const first = this.#rows.all[0], last = this.#rows.all.at(-1);
    if (this.#isAsking || !first || !last) return;
    const view = this.clientHeight, top = this.scrollTop;
    const start = this.#rows.above.offsetTop + this.#rows.above.offsetHeight,
      end = this.#rows.below.offsetTop;
    /** @type {Record<string, unknown>} */
    let where;
    /** @type {(found: Stretch) => void} */
    let use;
    if (top + view < start || top > end && !this.#rows.isWhole) {
      where = { at: "share", of: Math.min(1, top / Math.max(1, this.scrollHeight - view)) };
      use = (found) => this.#jump(found, top);
    } else if (this.#rows.before > 0 && top - start < NEAR * view) {
      where = { at: "before", position: first.message.position };
      use = (found) => this.#extend(found, true);
    } else if (!this.#rows.isWhole && end - top - view < NEAR * view) {
      where = { at: "after", position: last.message.position };
      use = (found) => this.#extend(found, false);
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

  /** @param {Stretch} found @param {boolean} isAbove */
  #extend(found, isAbove) {
    this.#rows.keep(() => {
      this.#rows.extend(found, isAbove);
      this.#count(found);
    });
  }

  /** @param {Stretch} found @param {number} top */
  #jump(found, top) {
    this.#show(found);
    this.scrollTop = top;
    const first = this.#rows.all[0]?.row;
    const last = this.#rows.all.at(-1)?.row;
    if (first && (first.offsetTop > top + this.clientHeight || (last && last.offsetTop < top))) {
      first.scrollIntoView();
    }
  }

  /** Note what is on the screen: nothing is read that nobody could see. */
  #see() {
    if (document.visibilityState !== "visible") return;
    const visible = this.#rows.visible();
    if (!visible.length) return;
    this.#reading?.saw(visible.map((one) => one.row));
    this.#jumps?.saw(new Set(visible.map((one) => one.id)));
  }

  /** Time goes by: lives become shorter, and today becomes yesterday. */
  #tick() {
    if (document.visibilityState !== "visible") return;
    this.#rows.keep(() => {
      for (const one of this.#rows.all) one.tick();
      this.#rows.join(0, this.#rows.all.length);
    });
  }
}

customElements.define("chat-history", ChatHistory);

export const history = find("chat-history", ChatHistory);
