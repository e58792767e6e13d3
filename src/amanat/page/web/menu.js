/** A menu of things to do with what it was opened at. */

import { make } from "./dom.js";
import { words } from "./words.js";

/** @typedef {{ label: string, act: () => void, isBad?: boolean }} Item */

const GAP_PX = 8;

/**
 * Show a menu beside an element, or where the pointer is.
 * @param {HTMLElement} at
 * @param {Item[]} items
 * @param {{ x: number, y: number }} [pointer]
 */
export function menu(at, items, pointer) {
  const buttons = items.map(({ label, act, isBad }) =>
    make("button", {
      type: "button",
      role: "menuitem",
      tabIndex: -1,
      className: isBad ? "bad" : "",
      onclick: () => {
        shown.hidePopover();
        act();
      },
    }, label)
  );
  const shown = make("div", { popover: "auto", role: "menu", className: "menu" }, ...buttons);
  shown.ariaLabel = at.ariaLabel ?? words.more;
  shown.addEventListener("keydown", (event) => {
    const place = buttons.findIndex((one) => one === document.activeElement);
    const next = {
      ArrowDown: place + 1,
      ArrowUp: place - 1,
      Home: 0,
      End: -1,
      Tab: place + (event.shiftKey ? -1 : 1),
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    buttons.at(next % buttons.length)?.focus();
  });
  shown.addEventListener("toggle", (event) => {
    if (!(event instanceof ToggleEvent) || event.newState !== "closed") return;
    if (shown.contains(document.activeElement) || document.activeElement === document.body) {
      at.focus();
    }
    at.ariaExpanded = null;
    shown.remove();
  });
  // Everything outside an open dialog is inert.
  (at.closest("dialog, nav, main") ?? document.body).append(shown);
  shown.showPopover();
  place(shown, at, pointer);
  buttons[0]?.focus();
}

/** @param {HTMLElement} shown @param {HTMLElement} at @param {{ x: number, y: number }} [pointer] */
function place(shown, at, pointer) {
  const box = at.getBoundingClientRect(), own = shown.getBoundingClientRect();
  const isMirrored = getComputedStyle(at).direction === "rtl";
  const start = pointer
    ? (isMirrored ? innerWidth - pointer.x : pointer.x)
    : (isMirrored ? box.x : innerWidth - box.x - box.width);
  const most = innerWidth - own.width - GAP_PX;
  const inline = `${Math.max(GAP_PX, Math.min(start, most))}px`;
  if (pointer) shown.style.insetInlineStart = inline;
  else shown.style.insetInlineEnd = inline;
  const top = pointer ? pointer.y : box.y + box.height;
  shown.style.insetBlockStart = `${
    Math.max(GAP_PX, Math.min(top, innerHeight - own.height - GAP_PX))
  }px`;
}
