/** The list of conversations: pinned ones first, then by their last message. */

import { inShort } from "./attached.js";
import { shortly } from "./days.js";
import { find, make } from "./dom.js";
import { face } from "./face.js";
import { icon } from "./icons.js";
import { menu } from "./menu.js";
import { isNamed } from "./named.js";
import { bdi, directionOf, fill, many } from "./phrase.js";
import { store } from "./store.js";
import { isNotes, titleOf } from "./title.js";
import { number, words } from "./words.js";

/** @import { Summary } from "./line.js" */

const HOUR_MS = 3_600_000;
/** The last moment that a program can name: muted until the person says otherwise. */
export const FOR_EVER_MS = 8.64e15;
/** How much of a text a line may take up. */
const PREVIEW = 200;

/** @param {Summary} one */
export function isMuted(one) {
  return one.muted_until !== null && one.muted_until > Date.now();
}

export class ChatList extends HTMLElement {
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  #current = "";
  #isArchive = false;
  #out = make("button", { type: "button", className: "archived", hidden: true }, icon("back"));
  #in = make("button", { type: "button", className: "archived", hidden: true });

  connectedCallback() {
    this.setAttribute("role", "navigation");
    this.ariaLabel = words.chats;
    this.#out.append(words.allChats);
    this.#out.onclick = () => this.#show(false);
    this.#in.onclick = () => this.#show(true);
    this.addEventListener("keydown", (event) => {
      const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!way || event.altKey) return;
      event.preventDefault();
      const links = [...this.querySelectorAll(".row:not([hidden]) a")];
      const next = links[links.findIndex((one) => one === document.activeElement) + way];
      if (next instanceof HTMLElement) next.focus();
    });
    this.addEventListener("contextmenu", (event) => {
      const row = event.target instanceof Element ? event.target.closest(".row") : null;
      const link = row?.querySelector("a");
      if (!link) return;
      event.preventDefault();
      // The key for it comes without a place of the pointer.
      this.#offer(link, event.clientX || event.clientY ? event : undefined);
    });
  }

  get current() {
    return this.#current;
  }

  /** Show all that the store has. */
  begin() {
    this.#rows.clear();
    for (const one of store.chats.values()) this.#keep(one);
    this.#sort();
    this.replaceChildren(this.#out, ...this.#rows.values(), this.#in);
    this.#count();
  }

  /** The store has a new summary. @param {Summary} one */
  put(one) {
    this.#keep(one);
    this.#sort();
    let next = this.#out.nextElementSibling;
    for (const row of this.#rows.values()) {
      if (row === next) next = next.nextElementSibling;
      else this.insertBefore(row, next);
    }
    this.#count();
  }

  /** One is no longer listed. @param {string} chat */
  drop(chat) {
    const row = this.#rows.get(chat);
    this.#rows.delete(chat);
    const next = row?.nextElementSibling?.querySelector("a");
    if (row?.contains(document.activeElement) && next instanceof HTMLElement) next.focus();
    row?.remove();
    this.#count();
  }

  /** @param {string} chat */
  choose(chat) {
    this.#link(this.#current)?.removeAttribute("aria-current");
    this.#current = chat;
    this.#link(chat)?.setAttribute("aria-current", "true");
  }

  /** Open the next or the previous conversation. @param {1 | -1} way */
  step(way) {
    const seen = [...this.#rows].filter(([, row]) => !row.hidden).map(([chat]) => chat);
    const at = seen.indexOf(this.#current);
    const next = seen[at < 0 ? (way > 0 ? 0 : seen.length - 1) : at + way];
    if (!next) return;
    this.#link(next)?.scrollIntoView({ block: "nearest" });
    store.open(next);
  }

  /** @param {string} chat */
  #link(chat) {
    return this.#rows.get(chat)?.querySelector("a");
  }

  /** @param {boolean} isArchive */
  #show(isArchive) {
    this.#isArchive = isArchive;
    for (const one of store.chats.values()) this.#hide(one);
    this.#count();
    this.scrollTop = 0;
    (isArchive ? this.#out : this.#in).focus();
  }

  /** @param {Summary} one */
  #hide(one) {
    const row = this.#rows.get(one.chat);
    if (row) row.hidden = one.is_archived !== this.#isArchive;
  }

  #count() {
    const archived = [...store.chats.values()].filter((one) => one.is_archived).length;
    this.#in.textContent = many("archived", archived);
    this.#in.hidden = this.#isArchive || !archived;
    this.#out.hidden = !this.#isArchive;
  }

  #sort() {
    const order = [...store.chats.values()].sort((a, b) =>
      Number(a.pinned_at === null) - Number(b.pinned_at === null) ||
      (a.pinned_at ?? 0) - (b.pinned_at ?? 0) ||
      (b.last?.sent_at ?? 0) - (a.last?.sent_at ?? 0)
    );
    const rows = this.#rows;
    this.#rows = new Map(order.map((one) => [one.chat, rows.get(one.chat) ?? make("div")]));
  }

  /** @param {Summary} one */
  #keep(one) {
    const row = this.#rows.get(one.chat) ?? this.#row(one.chat);
    this.#rows.set(one.chat, row);
    const [link, more] = row.children;
    link?.replaceChildren(...line(one));
    if (more) more.ariaLabel = `${words.more}: ${titleOf(one)}`;
    this.#hide(one);
    if (one.chat === this.#current) link?.setAttribute("aria-current", "true");
  }

  /** @param {string} chat */
  #row(chat) {
    // The key for menus opens it on the row itself: one stop for each row is enough.
    const more = make("button", { type: "button", className: "more", tabIndex: -1 }, icon("more"));
    more.onclick = () => this.#offer(more);
    return make("div", { className: "row" }, make("a", { href: `#${chat}` }), more);
  }

  /** @param {HTMLElement} at @param {MouseEvent} [pointer] */
  #offer(at, pointer) {
    const chat = at.closest(".row")?.querySelector("a")?.hash.slice(1) ?? "";
    const one = store.chats.get(chat);
    if (!one) return;
    /** @param {string} what @param {Record<string, unknown>} more */
    const ask = (what, more) => void store.ask(what, { chat, ...more }).catch(() => {});
    /** @param {number | null} until */
    const mute = (until) => ask("mute", { until });
    const muting = isMuted(one) ? [{ label: words.unmute, act: () => mute(null) }] : [
      { label: words.muteHour, act: () => mute(Date.now() + HOUR_MS) },
      { label: words.muteHours, act: () => mute(Date.now() + 8 * HOUR_MS) },
      { label: words.muteEver, act: () => mute(FOR_EVER_MS) },
    ];
    const isPinned = one.pinned_at !== null;
    menu(at, [
      {
        label: isPinned ? words.unpin : words.pin,
        act: () => ask("pin", { is_pinned: !isPinned }),
      },
      ...muting,
      {
        label: one.is_archived ? words.unarchive : words.archive,
        act: () => ask("archive", { is_archived: !one.is_archived }),
      },
      {
        label: words.details,
        act: () => void import("./details.js").then(({ showDetails }) => showDetails(chat)),
      },
    ], pointer && { x: pointer.clientX, y: pointer.clientY });
  }
}

/** What is seen of a conversation. @param {Summary} one @returns {HTMLElement[]} */
function line(one) {
  /** @param {boolean} is @param {Parameters<typeof icon>[0]} name @param {string} said */
  const sign = (is, name, said) =>
    is ? [make("span", { className: "sign" }, icon(name), spoken(said))] : [];
  const { last, unread } = one;
  return [
    face(one),
    make(
      "b",
      {},
      bdi(titleOf(one)),
      ...sign(one.is_verified, "shield", words.verified),
      ...sign(isMuted(one), "mute", words.muted),
      ...sign(one.pinned_at !== null, "pin", words.pinned),
    ),
    make("time", {}, last ? shortly(last.sent_at) : ""),
    make("p", { dir: directionOf(one.draft || one.last?.text || "") }, ...said(one)),
    ...(unread
      ? [
        make(
          "span",
          { className: isMuted(one) ? "unread quiet" : "unread" },
          ...(namesMe(one) ? ["@ ", spoken(words.mentionsYou)] : []),
          number.format(unread),
          spoken(words.unread),
        ),
      ]
      : []),
  ];
}

/** Whether the last text of a group names us. @param {Summary} one */
function namesMe({ last, is_direct }) {
  return !is_direct && last !== null && !last.own && isNamed(last.text, store.status?.name ?? "");
}

/**
 * The last line. Its direction is that of the text, which alone is not isolated: so it is cut at
 * its end, and not at its beginning.
 * @param {Summary} one
 * @returns {(Node | string)[]}
 */
function said(one) {
  const last = one.last;
  if (one.draft) {
    return fill(words.drafted, {
      draft: make("bdi", { className: "draft" }, words.draft),
      text: one.draft.slice(0, PREVIEW),
    });
  }
  if (!last) return [];
  const text = last.deleted ? words.deleted : inShort(last).slice(0, PREVIEW);
  if (last.own && !isNotes(one)) return fill(words.saidBy, { who: bdi(words.you), text });
  return one.is_direct || isNotes(one)
    ? [text]
    : fill(words.saidBy, { who: bdi(last.sender), text });
}

/** Words for those who hear the page. @param {string} text */
export function spoken(text) {
  return make("span", { className: "spoken" }, ` ${text} `);
}

customElements.define("chat-list", ChatList);

export const list = find("chat-list", ChatList);
