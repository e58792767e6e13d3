/** A menu: arrow keys go through it, Esc closes it, and the focus returns to where it was. */

import { make } from "./dom.js";
import { words } from "./words.js";

/**
 * @typedef {{ label: string, name?: string, act: () => void, isBad?: boolean, isChosen?: boolean }} Item
 * @typedef {Item | Item[]} Row an item of its own, or some beside each other
 */

/** How far from the edge of the window a menu stays, in pixels. */
const EDGE = 8;

/** What one does elsewhere to leave a menu. */
const LEAVING = ["pointerdown", "wheel"];

/** Closes the menu that is open. */
let close = () => {};

/**
 * Show a menu beside an element, or where the pointer is.
 * @param {HTMLElement} at
 * @param {Row[]} rows
 * @param {{ x: number, y: number }} [pointer]
 */
export function menu(at, rows, pointer) {
  const { left: start, right: end, bottom: y } = at.getBoundingClientRect();
  const beside = { x: document.dir === "rtl" ? end : start, y };
  openMenu(at.ariaLabel ?? words.more, rows, pointer ?? beside, at);
}

/**
 * Open a menu at a point of the window.
 * @param {string} name
 * @param {Row[]} rows
 * @param {{ x: number, y: number }} at
 * @param {HTMLElement} back what gets the focus back
 */
export function openMenu(name, rows, at, back) {
  const lines = rows.map((row) => (Array.isArray(row) ? row : [row]).map((item) => button(item)));
  const shown = make(
    "div",
    { className: "menu", role: "menu", ariaLabel: name, popover: "manual" },
    ...lines.map((line, i) =>
      Array.isArray(rows[i]) ? make("div", { role: "group", className: "beside" }, ...line) : line
    ).flat(),
  );
  /** @param {Item} item */
  function button({ label, name, act, isBad, isChosen }) {
    const made = make("button", {
      type: "button",
      role: isChosen === undefined ? "menuitem" : "menuitemcheckbox",
      tabIndex: -1,
      className: isBad ? "bad" : "",
      ...(name ? { ariaLabel: name, title: name } : {}),
      ...(isChosen === undefined ? {} : { ariaChecked: String(isChosen) }),
    }, label);
    made.addEventListener("click", () => {
      leave();
      act();
    });
    return made;
  }
  // By itself a popover would close when the finger that opened it is lifted.
  const outside = (/** @type {Event} */ event) => {
    if (event.target instanceof Node && !shown.contains(event.target)) close();
  };
  function leave() {
    close();
    back.focus({ preventScroll: true });
  }
  close();
  close = () => {
    shown.remove();
    for (const one of LEAVING) document.removeEventListener(one, outside, true);
    globalThis.removeEventListener("resize", close);
    close = () => {};
  };
  for (const one of LEAVING) document.addEventListener(one, outside, true);
  globalThis.addEventListener("resize", close);
  shown.addEventListener("keydown", (event) => {
    event.stopPropagation();
    const to = next(lines, document.activeElement, event.key);
    if (event.key === "Escape" || event.key === "Tab") leave();
    else if (!to) return;
    event.preventDefault();
    to?.focus();
  });
  // Everything outside an open dialog is inert.
  (back.closest("dialog, nav, main") ?? document.body).append(shown);
  shown.showPopover();
  const { width, height } = shown.getBoundingClientRect();
  const isBack = document.dir === "rtl"; // it opens to the side to which one reads
  const x = isBack ? at.x - width : at.x;
  const most = (/** @type {number} */ whole, /** @type {number} */ own) => whole - own - EDGE;
  shown.style.translate = `${Math.max(EDGE, Math.min(x, most(innerWidth, width)))}px ${
    Math.max(EDGE, Math.min(at.y, most(innerHeight, height)))
  }px`;
  lines[0]?.[0]?.focus();
}

/**
 * The item to which a key goes.
 * @param {HTMLElement[][]} lines @param {Element | null} from @param {string} key
 * @returns {HTMLElement | undefined}
 */
function next(lines, from, key) {
  const y = lines.findIndex((line) => line.some((one) => one === from));
  const line = lines[y] ?? [], x = line.findIndex((one) => one === from);
  const ahead = document.dir === "rtl" ? "ArrowLeft" : "ArrowRight";
  const behind = document.dir === "rtl" ? "ArrowRight" : "ArrowLeft";
  switch (key) {
    case "ArrowDown":
      return lines[(y + 1) % lines.length]?.[0];
    case "ArrowUp":
      return lines.at(y - 1)?.[0];
    case "Home":
      return lines[0]?.[0];
    case "End":
      return lines.at(-1)?.[0];
    case ahead:
      return line[(x + 1) % line.length];
    case behind:
      return line.at(x - 1);
    default:
      return undefined;
  }
}
