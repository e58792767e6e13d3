/** One message as a row of its conversation: a bubble, and what stands above it. */

import { attached, inShort } from "./attached.js";
import { dayName, isSameDay, moment, span } from "./days.js";
import { make } from "./dom.js";
import { pieces } from "./links.js";
import { isNamed } from "./named.js";
import { line } from "./phrase.js";
import { clock, number, words } from "./words.js";

/** @import { Message } from "./line.js" */

/** Messages of one person belong together if no more time than this lies between them. */
const GROUP_MS = 5 * 60 * 1000;

const MARKS = {
  waiting: "◷",
  queued: "◷",
  sent: "✓",
  delivered: "✓✓",
  undelivered: "!",
  kept: "•",
};

export class Entry {
  /** @type {Message} */
  message;
  #me;
  #head = make("div");
  /** What stands in it. */
  #heading = "";
  #article = make("article", { tabIndex: -1 });
  /** The whole row. */
  row = make("div", { className: "entry" }, this.#article);

  /** @param {Message} message @param {string} me our own name */
  constructor(message, me) {
    this.message = message;
    this.#me = me;
    this.#fill();
  }

  /** The bubble, which gets the focus. */
  get article() {
    return this.#article;
  }

  /**
   * Show it in another form. The focus stays on it.
   * @param {Message} message @param {string} me
   */
  put(message, me) {
    const active = document.activeElement;
    const hadFocus = active !== this.#article && this.#article.contains(active);
    this.message = message;
    this.#me = me;
    this.#fill();
    this.#article.ariaLabel = null;
    if (hadFocus) this.#article.focus({ preventScroll: true });
    this.openControls(this.#article.tabIndex === 0);
  }

  /**
   * Say where it stands: after which message, and whether the unread ones begin here.
   * @param {Message | undefined} before @param {boolean} isFirstUnread
   */
  join(before, isFirstUnread) {
    const { own, sender, sent_at } = this.message;
    const isNewDay = !before || !isSameDay(before.sent_at, sent_at);
    const follows = !isNewDay && !isFirstUnread && before.own === own && before.sender === sender &&
      (Math.abs(sent_at - before.sent_at) < GROUP_MS ||
        albumOf(before) !== "" && albumOf(before) === albumOf(this.message));
    this.row.classList.toggle("follows", follows);
    const day = isNewDay ? dayName(sent_at) : "", heading = `${day}\n${isFirstUnread}`;
    if (!isNewDay && !isFirstUnread) this.#head.remove();
    else if (heading !== this.#heading) {
      this.#head.replaceChildren(
        ...(isNewDay ? [pill(day, sent_at, this.#article.tabIndex)] : []),
        ...(isFirstUnread ? [make("div", { className: "divider" }, words.unread)] : []),
      );
    }
    this.#heading = heading;
    if ((isNewDay || isFirstUnread) && !this.#head.isConnected) this.row.prepend(this.#head);
  }

  /** Its place in the grid of its album. @param {"" | "begin" | "end" | "wide"} place */
  place(place) {
    for (const one of ["begin", "end", "wide"]) this.row.classList.toggle(one, one === place);
  }

  /**
   * Let Tab reach the controls inside, or not: of all messages, only one lets it.
   * @param {boolean} isOpen
   */
  openControls(isOpen) {
    this.#article.tabIndex = isOpen ? 0 : -1;
    for (const one of this.row.querySelectorAll("button, a, input")) {
      if (one instanceof HTMLElement) one.tabIndex = isOpen ? 0 : -1;
    }
  }

  /** Show how long it lasts yet. @param {number} [now] */
  tick(now = Date.now()) {
    const timer = this.#article.querySelector(".timer");
    const ends = this.message.expires_at;
    if (!(timer instanceof HTMLElement) || ends === null) return;
    const lasts = span(ends - now);
    timer.textContent = `◔ ${lasts}`;
    timer.ariaLabel = timer.title = line(words.disappears, { span: lasts });
  }

  #fill() {
    const one = this.message, chips = reactions(one.reactions, this.#me);
    this.#article.classList.toggle("own", one.own);
    this.#article.classList.toggle("deleted", one.deleted);
    this.#article.classList.toggle("names-me", !one.own && isNamed(one.text, this.#me));
    this.#article.replaceChildren(
      make("b", {}, make("bdi", {}, one.own ? words.you : one.sender)),
      ...(one.forwarded ? [make("small", { className: "forwarded" }, words.forwarded)] : []),
      ...(one.quote ? [quote(one.quote, this.#me)] : []),
      ...(one.file ? [attached(one, one.file)] : []),
      make("p", {}, ...(one.deleted ? [words.deleted] : pieces(one.text))),
      ...(chips ? [make("div", { className: "below" }, chips, foot(one))] : [foot(one)]),
    );
    this.tick();
  }
}

/** The album of a picture; empty for anything else. @param {Message} message */
export function albumOf({ file }) {
  return file?.kind === "picture" ? file.album : "";
}

/** The name of a day, which leads to any other. @param {string} name @param {number} at @param {number} tabIndex */
function pill(name, at, tabIndex) {
  const made = make(
    "div",
    { className: "day" },
    make("button", { type: "button", title: words.toDay, tabIndex }, name),
  );
  made.dataset.at = String(at);
  return made;
}

/**
 * A message as one sentence: who, what, when, and how far it has come.
 * @param {Message} message
 */
export function label(message) {
  const { own, sender, deleted, sent_at, edited, forwarded } = message;
  const said = deleted ? words.deleted : inShort(message);
  const parts = [own ? words.you : sender, said, moment(sent_at)];
  if (forwarded) parts.push(words.forwarded);
  if (edited) parts.push(words.edited);
  if (own) parts.push(how(message));
  return listed(parts);
}

/** Texts after one another, each in its own direction. @param {string[]} all */
function listed(all) {
  return all.map((one) => `\u2068${one}\u2069`).join(words.comma);
}

/** When it was sent, and what else there is to know. @param {Message} one */
function foot(one) {
  return make(
    "footer",
    {},
    ...(one.edited ? [make("small", {}, words.edited)] : []),
    ...(one.expires_at === null
      ? []
      : [make("span", { className: "timer", role: "img", ariaLabel: words.disappearing })]),
    make("time", { dateTime: new Date(one.sent_at).toISOString() }, clock.format(one.sent_at)),
    ...(one.own ? [mark(one)] : []),
  );
}

/** @param {import("./line.js").Quote} one @param {string} me */
function quote(one, me) {
  const text = one.text || (one.sender ? words.deleted : words.notHere);
  return make(
    one.sender ? "button" : "div",
    { className: "quote", tabIndex: -1, ...(one.sender ? { type: "button" } : {}) },
    make("bdi", {}, one.sender === me ? words.you : one.sender),
    make("span", { dir: "auto" }, text.slice(0, 300)),
  );
}

/** @param {Record<string, string>} all @param {string} me */
function reactions(all, me) {
  /** @type {Map<string, string[]>} */
  const names = new Map();
  for (const [name, emoji] of Object.entries(all)) {
    const those = names.get(emoji) ?? [];
    if (name === me) those.unshift(words.you);
    else those.push(name);
    names.set(emoji, those);
  }
  if (!names.size) return undefined;
  const chips = [...names].map(([emoji, those]) => {
    const who = listed(those);
    const chip = make(
      "button",
      {
        type: "button",
        className: "chip",
        tabIndex: -1,
        title: who,
        ariaLabel: `${emoji} ${number.format(those.length)}: ${who}`,
        ariaPressed: String(all[me] === emoji),
      },
      make("span", { className: "emoji" }, emoji),
      ...(those.length > 1 ? [make("span", {}, number.format(those.length))] : []),
    );
    chip.dataset.emoji = emoji;
    return chip;
  });
  return make("div", { className: "reactions" }, ...chips);
}

/**
 * @param {string} state
 * @returns {keyof typeof MARKS}
 */
function known(state) {
  return /** @type {keyof typeof MARKS} */ (state in MARKS ? state : "queued");
}

/** How far it has come, in words. @param {Message} one */
export function how(one) {
  if (isRead(one)) return words.readByAll;
  if (!one.read_by.length) return words[known(one.state)];
  return line(words.readBy, {
    n: number.format(one.read_by.length),
    m: number.format(one.read_of),
    names: listed(one.read_by),
  });
}

/** Whether everybody has read it. @param {Message} one */
function isRead({ read_by, read_of }) {
  return read_by.length > 0 && read_by.length === read_of;
}

/** @param {Message} one */
function mark(one) {
  const said = how(one), className = isRead(one) ? "mark read" : "mark";
  return make(
    "span",
    { className, role: "img", ariaLabel: said, title: said },
    MARKS[isRead(one) ? "delivered" : known(one.state)],
  );
}

/**
 * The order of two messages, by their positions.
 * @param {Message} one @param {Message} other
 */
export function compare(one, other) {
  const [clockA = "", whoA = "", seqA = "", idA = ""] = one.position.split(".");
  const [clockB = "", whoB = "", seqB = "", idB = ""] = other.position.split(".");
  return Number(clockA) - Number(clockB) || order(whoA, whoB) || Number(seqA) - Number(seqB) ||
    order(idA, idB);
}

/** @param {string} one @param {string} other */
function order(one, other) {
  return one < other ? -1 : Number(one > other);
}
