/** Search: people and conversations by name first, then the messages that hold the words. */

import { shortly } from "./days.js";
import { make } from "./dom.js";
import { face } from "./face.js";
import { icon } from "./icons.js";
import { INVITE } from "./links.js";
import { bdi, fill } from "./phrase.js";
import { store } from "./store.js";
import { titleOf } from "./title.js";
import { words } from "./words.js";

/** @import { Message, Summary } from "./line.js" */
/** @typedef {Message & { chat: string, marks: [number, number][] }} Found */

/** How long after the last key the client is asked. */
const TYPING_MS = 40;
const PAGE = 50;
/** Characters of a text before its first mark, and in all. */
const BEFORE = 30;
const MOST = 160;

export class RoomFind extends HTMLElement {
  box = make("input", {
    type: "search",
    autocomplete: "off",
    spellcheck: false,
    placeholder: words.search,
    ariaLabel: words.search,
  });
  #asking = 0;
  /** How many times something else was looked for: an answer may come too late. */
  #turn = 0;

  connectedCallback() {
    this.hidden = true;
    this.setAttribute("role", "region");
    this.ariaLabel = words.results;
    this.box.addEventListener("input", () => this.#look());
    this.box.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#words) {
        event.preventDefault();
        this.clear();
      } else if (event.key === "ArrowDown") this.#step(event, 1);
      else if (event.key === "Enter") this.querySelector("a")?.click();
    });
    this.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.preventDefault();
        this.box.focus();
      } else if (event.key === "ArrowDown") this.#step(event, 1);
      else if (event.key === "ArrowUp") this.#step(event, -1);
    });
  }

  /** Look for this. @param {string} wanted */
  seek(wanted) {
    if (!(this.box instanceof HTMLInputElement)) return;
    this.box.value = wanted;
    this.box.focus();
    this.#look();
  }

  clear() {
    if (!(this.box instanceof HTMLInputElement)) return;
    this.box.value = "";
    this.#look();
  }

  get #words() {
    return this.box instanceof HTMLInputElement ? this.box.value.trim() : "";
  }

  /** @param {KeyboardEvent} event @param {1 | -1} way */
  #step(event, way) {
    event.preventDefault();
    const all = [...this.querySelectorAll("a")];
    const next = all.findIndex((one) => one === document.activeElement) + way;
    (next < 0 ? this.box : all[next])?.focus();
  }

  #look() {
    clearTimeout(this.#asking);
    const turn = ++this.#turn, wanted = this.#words;
    this.hidden = !wanted;
    this.dispatchEvent(new Event("look"));
    if (!wanted) {
      this.replaceChildren();
      return;
    }
    const [link] = INVITE.exec(wanted) ?? [];
    if (link) {
      this.replaceChildren(titled(words.newContact, [this.#knock(link)]));
      return;
    }
    const named = this.#named(wanted);
    const under = make("div", {});
    const status = make("p", { role: "status", className: "hint" });
    this.replaceChildren(...(named.length ? [titled(words.names, named)] : []), under, status);
    this.#asking = setTimeout(() => void this.#ask(turn, wanted, under, status), TYPING_MS);
  }

  /** Offer to use somebody's link. @param {string} link */
  #knock(link) {
    const made = make(
      "a",
      { href: "#" },
      make("span", { className: "face face-0", ariaHidden: "true" }, icon("plus")),
      make("b", {}, words.useThisLink),
    );
    made.onclick = (event) => {
      event.preventDefault();
      this.clear();
      void import("./people.js").then(({ knockAtOnce }) => knockAtOnce(link));
    };
    return made;
  }

  /** @param {string} wanted */
  #named(wanted) {
    const folded = fold(wanted);
    return [...store.chats.values()]
      .filter((one) => fold(titleOf(one)).includes(folded))
      .sort((a, b) => (b.last?.sent_at ?? 0) - (a.last?.sent_at ?? 0))
      .map((one) => row(one, "", []));
  }

  /**
   * Chats that were brought along have results of their own.
   * @param {number} turn @param {string} wanted @param {HTMLElement} status
   */
  async #seekBrought(turn, wanted, status) {
    const found = await store.ask("search imported", { words: wanted, many: 9 }).catch(() => []);
    if (!found.length) return;
    const { broughtRows } = await import("./imports.js");
    if (turn !== this.#turn) return;
    this.append(titled(...broughtRows(found)));
    status.textContent = "";
  }

  /**
   * @param {number} turn
   * @param {string} wanted
   * @param {HTMLElement} under
   * @param {HTMLElement} status
   * @param {number} [before]
   */
  async #ask(turn, wanted, under, status, before) {
    /** @type {Found[]} */
    let found;
    try {
      found = await store.ask("search", { words: wanted, many: PAGE, before });
    } catch {
      found = []; // no word in it yet, or the line is gone
    }
    if (turn !== this.#turn) return;
    if (before === undefined) void this.#seekBrought(turn, wanted, status);
    const rows = found.flatMap((one) => {
      const chat = store.chats.get(one.chat);
      return chat ? [row(chat, one.id, excerpt(one), one.sent_at)] : [];
    });
    if (before !== undefined) under.append(...rows);
    else if (rows.length) under.append(titled(words.messages, rows));
    status.textContent = this.querySelector("a") ? "" : words.nothingFound;
    const last = found.at(-1);
    if (found.length < PAGE || !last) return;
    const more = make("button", { type: "button", className: "plain" }, words.showMore);
    more.onclick = () => {
      more.remove();
      void this.#ask(turn, wanted, under, status, last.row);
    };
    this.append(more);
  }
}

/** @param {string} title @param {Node[]} rows */
function titled(title, rows) {
  return make("section", {}, make("h2", {}, title), ...rows);
}

/**
 * @param {Summary} one
 * @param {string} message
 * @param {(Node | string)[]} text
 * @param {number} [at]
 */
function row(one, message, text, at) {
  const { chat } = one;
  return make(
    "a",
    {
      href: `#${chat}`,
      onclick: (/** @type {Event} */ event) => {
        event.preventDefault();
        store.open(chat, message || undefined);
      },
    },
    face(one),
    make("b", {}, bdi(titleOf(one))),
    ...(at === undefined ? [] : [make("time", {}, shortly(at))]),
    ...(text.length ? [make("p", { dir: "auto" }, ...text)] : []),
  );
}

/**
 * The part of a text that holds the first mark.
 * @param {{ text: string, own?: boolean, marks: [number, number][] }} one
 */
export function excerpt(one) {
  const text = [...one.text]; // marks count characters, and strings do not
  const start = Math.max(0, (one.marks[0]?.[0] ?? 0) - BEFORE);
  const end = Math.min(text.length, start + MOST);
  /** @param {number} a @param {number} b */
  const part = (a, b) => text.slice(Math.max(a, start), Math.min(b, end)).join("");
  const found = [];
  let from = start;
  for (const [a, b] of one.marks) {
    found.push(part(from, a), make("mark", {}, part(a, b)));
    from = b;
  }
  const shown = [start ? "…" : "", ...found.filter((piece) => piece !== ""), part(from, end)];
  return one.own ? fill(words.saidBy, { who: bdi(words.you), text: shown }) : shown;
}

/** A name without what people leave out when they look for it. @param {string} name */
export function fold(name) {
  return name.normalize("NFKD").replace(/[\p{M}\u0640]/gu, "").replace(/\u200c/gu, " ")
    .replace(/[يى]/gu, "ی").replace(/ك/gu, "ک").toLowerCase();
}

customElements.define("room-find", RoomFind);
