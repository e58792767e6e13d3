/** The keys that work everywhere on the page. */

import { found } from "./bar.js";
import { isCovered } from "./dom.js";
import { list } from "./list.js";
import { store } from "./store.js";

/** @param {EventTarget | null} target */
function isWriting(target) {
  return target instanceof HTMLElement && target.matches("input, textarea, select");
}

/** Whether what is typed belongs to nothing yet. @param {EventTarget | null} target */
function isFree(target) {
  return !list.current && found.box.offsetParent !== null && !isWriting(target);
}

document.addEventListener("paste", (event) => {
  const text = event.clipboardData?.getData("text").trim();
  if (!text || !isFree(event.target) || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  found.seek(text);
});

document.addEventListener("keydown", (event) => {
  if (isCovered()) return;
  const isSearch = (event.key === "k" && (event.ctrlKey || event.metaKey) && !event.altKey) ||
    (event.key === "/" && !event.ctrlKey && !event.altKey && !isWriting(event.target));
  const isLetter = event.key.length === 1 && event.key !== " " &&
    !event.ctrlKey && !event.altKey && !event.metaKey;
  // While no conversation is open there is nothing else to write: the letter goes there.
  if (isLetter && !isSearch && isFree(event.target)) found.box.focus();
  if (isSearch && found.box.offsetParent) {
    event.preventDefault();
    found.box.focus();
  } else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    event.preventDefault();
    list.step(event.key === "ArrowDown" ? 1 : -1);
  }
});

// Whoever lets Enter break the line sends with Ctrl+Enter: the box must not see the key alone.
document.addEventListener("keydown", (event) => {
  const isBreak = event.key === "Enter" && !event.ctrlKey && !event.metaKey && !event.altKey &&
    store.settings.enter === "break";
  if (isBreak && event.target instanceof Element && event.target.matches("main textarea")) {
    event.stopPropagation();
  }
}, { capture: true });
