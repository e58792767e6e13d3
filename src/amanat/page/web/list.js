/** The list of conversations: pinned ones first, then by their last message. */

import { find, make } from "./dom.js";
import { clock, number, words } from "./words.js";

/** @import { Summary } from "./line.js" */

export class ChatList extends HTMLElement {
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  /** @type {Map<string, Summary>} */
  #summaries = new Map();
  #current = "";

  connectedCallback() {
    this.setAttribute("role", "navigation");
    this.ariaLabel = words.chats;
  }

  /** @param {string} chat */
  summary(chat) {
    return this.#summaries.get(chat);
  }

  /** @param {Summary[]} all */
  begin(all) {
    this.#rows.clear();
    this.#summaries.clear();
    for (const one of all) this.#keep(one);
    this.#sort();
    this.replaceChildren(...this.#rows.values());
  }

  /** @param {Summary} one */
  put(one) {
    this.#keep(one);
    this.#sort();
    let next = this.firstElementChild;
    for (const row of this.#rows.values()) {
      if (row === next) next = next.nextElementSibling;
      else this.insertBefore(row, next);
    }
  }

  /** @param {string} chat */
  choose(chat) {
    this.#rows.get(this.#current)?.removeAttribute("aria-current");
    this.#current = chat;
    this.#rows.get(chat)?.setAttribute("aria-current", "true");
  }

  #sort() {
    const order = [...this.#summaries.values()].sort((a, b) =>
      Number(a.pinned_at === null) - Number(b.pinned_at === null) ||
      (a.pinned_at ?? 0) - (b.pinned_at ?? 0) ||
      (b.last?.sent_at ?? 0) - (a.last?.sent_at ?? 0)
    );
    const rows = this.#rows;
    this.#rows = new Map(order.map((one) => [one.chat, rows.get(one.chat) ?? make("a")]));
  }

  /** @param {Summary} one */
  #keep(one) {
    this.#summaries.set(one.chat, one);
    const row = this.#rows.get(one.chat) ?? make("a", { href: `#${one.chat}` });
    this.#rows.set(one.chat, row);
    const last = one.last;
    const said = one.draft || (last?.deleted ? words.deleted : last?.text) || "";
    const [first] = new Intl.Segmenter().segment(one.name);
    row.replaceChildren(
      make("span", { className: "face", ariaHidden: "true" }, first?.segment ?? ""),
      make("b", {}, make("bdi", {}, one.name)),
      make("time", {}, last ? clock.format(last.sent_at) : ""),
      make("p", { dir: "auto" }, said.slice(0, 200)),
      ...(one.unread ? [make("span", { className: "unread" }, number.format(one.unread))] : []),
    );
    row.hidden = one.is_archived;
    if (one.chat === this.#current) row.setAttribute("aria-current", "true");
  }
}

customElements.define("chat-list", ChatList);

export const list = find("chat-list", ChatList);
