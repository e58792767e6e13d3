/**
 * A sheet over the page, for everything that is no conversation. It holds pages: a page may lead to
 * another, and back. Focus goes in with it, and back to where it came from.
 */

import { make } from "./dom.js";
import { icon } from "./icons.js";
import { store } from "./store.js";
import { words } from "./words.js";

/** @typedef {Node | string} Piece */
/**
 * @typedef {{
 *   title: string,
 *   build: () => Piece[] | Promise<Piece[]>,
 *   on?: string[],
 *   end?: () => void,
 * }} Page a title, what is on it, which news (of the store, or the key of a
 *   conversation) it is built anew for, and what ends it
 */

const back = make("button", { type: "button", className: "round", ariaLabel: words.backStep });
const close = make("button", { type: "button", className: "round", ariaLabel: words.close });
const title = make("h2", { id: "sheet-title", tabIndex: -1 });
const failed = make("p", { role: "alert", className: "failed" });
const body = make("div", { className: "body" });
const dialog = /** @type {HTMLDialogElement} */ (make(
  "dialog",
  { className: "sheet", "aria-labelledby": "sheet-title" },
  make("div", { className: "head" }, back, title, close),
  failed,
  body,
));
back.append(icon("back"));
close.append(icon("close"));

/** @type {{ page: Page, from: string }[]} the pages, and what led on from each of them */
const pages = [];
/** How often something was built: what is late is not shown. */
let turn = 0;

/** Show a page, over the one that is shown. @param {Page} page */
export function show(page) {
  const last = pages.at(-1);
  if (last) last.from = keyOf(document.activeElement);
  pages.push({ page, from: "" });
  if (!dialog.isConnected) document.body.append(dialog);
  if (!dialog.open) dialog.showModal();
  void draw(true);
}

/** Go back to the page before, or leave. */
export function goBack() {
  pages.pop()?.page.end?.();
  if (pages.length) void draw(true);
  else leave();
}

/** Leave, from however many pages. */
export function leave() {
  for (const { page } of pages.splice(0)) page.end?.();
  turn++;
  body.replaceChildren();
  failed.textContent = "";
  dialog.close();
}

/** Build the page that is shown anew. */
export function rebuild() {
  return draw(false);
}

/** What was typed does not fit, and its field says so. */
export class Unfit extends Error {}

/**
 * Do something that a press asked for. If it cannot be done, the sheet says why.
 * @param {() => Promise<unknown>} deed
 */
export async function act(deed) {
  failed.textContent = "";
  body.ariaBusy = "true";
  try {
    await deed();
  } catch (error) {
    if (!(error instanceof Unfit)) await complain(error);
  } finally {
    body.ariaBusy = null;
  }
}

/** @param {unknown} error */
async function complain(error) {
  const { fault } = await import("./faults.js");
  failed.textContent = fault(error);
}

/** @param {boolean} isNew whether it was not shown just now */
async function draw(isNew) {
  const shown = pages.at(-1), mine = ++turn;
  if (!shown) return;
  if (isNew) failed.textContent = "";
  const focused = isNew ? shown.from : keyOf(document.activeElement);
  /** @type {Piece[]} */
  let built;
  try {
    built = await shown.page.build();
  } catch (error) {
    await complain(error);
    built = [];
  }
  if (mine !== turn) return;
  title.replaceChildren(make("bdi", {}, shown.page.title));
  back.hidden = pages.length < 2;
  const top = body.scrollTop;
  body.replaceChildren(...built);
  if (!isNew) body.scrollTop = top;
  const again = [...body.querySelectorAll("[data-key]")].find((one) => keyOf(one) === focused);
  if (again instanceof HTMLElement && focused) again.focus();
  else if (isNew) {
    const first = body.querySelector("[autofocus]");
    (first instanceof HTMLElement ? first : title).focus();
  }
}

/** What an element is found again by, once it was made anew. @param {Element | null} element */
function keyOf(element) {
  return element instanceof HTMLElement ? element.dataset.key ?? "" : "";
}

back.onclick = goBack;
close.onclick = leave;
dialog.addEventListener("cancel", (event) => {
  if (event.target !== dialog) return; // of a file that was not chosen
  event.preventDefault(); // one step, and not all of them
  goBack();
});
body.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  if (!(event.target instanceof HTMLInputElement) || event.target.type === "checkbox") return;
  const chief = body.querySelector("button.chief");
  if (chief instanceof HTMLElement) chief.click();
});
dialog.addEventListener("pointerdown", (event) => {
  if (event.target === dialog) leave(); // beside it
});
dialog.addEventListener("close", () => {
  if (!dialog.open) leave(); // others may close it; and it may have been opened again since
});
/** @param {string} news */
function hear(news) {
  if (pages.at(-1)?.page.on?.includes(news)) void draw(false);
}
for (const news of ["status", "people", "settings"]) {
  store.addEventListener(news, () => hear(news));
}
store.addEventListener("chat", (event) => {
  if (event instanceof CustomEvent) hear(event.detail);
});
