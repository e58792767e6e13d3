/** Puts the parts of the page together. */

import { find, isCovered, make } from "./dom.js";
import { icon } from "./icons.js";
import { Line } from "./line.js";
import { list } from "./list.js";
import { line as sentence, region } from "./phrase.js";
import { beginRooms, keepRooms } from "./rooms.js";
import { store } from "./store.js";
import { isNotes, titleOf } from "./title.js";
import { Talk } from "./talk.js";
import { language, words } from "./words.js";

/** @import { Summary } from "./line.js" */

const line = new Line();
const talk = new Talk(line);
const pane = find("main", HTMLElement);
const title = find("h1 bdi", HTMLElement);
const rest = find(".rest", HTMLElement);
const empty = find(".empty", HTMLElement);
const away = find(".away", HTMLElement);
const start = find("start-page", HTMLElement);
let isOpen = false;
/** The number of starts. An answer that belongs to an earlier one comes too late and is not shown. */
let turn = 0;

document.documentElement.lang = language;
document.documentElement.dir = words.direction;
const back = find("button.back", HTMLButtonElement);
back.ariaLabel = words.back;
back.append(icon("back"));
away.append(words.away);

/** @param {string} chat @param {string} [message] the one to show */
async function open(chat, message) {
  const summary = store.chats.get(chat);
  if (!summary) return;
  list.choose(chat);
  head(summary);
  pane.hidden = false;
  empty.hidden = true;
  document.body.classList.add("open");
  await talk.open(summary);
  if (message) await talk.show(message);
}

/** What stands above it. @param {Summary} summary */
function head(summary) {
  title.textContent = titleOf(summary);
  rest.textContent = isNotes(summary)
    ? words.onlyHere
    : sentence(words.rests, { where: region(store.status?.region ?? "") });
}

function meet() {
  void import("./people.js").then(({ showNewContact }) => showNewContact());
}

/** What stands there while none is open. */
function greet() {
  const isNobody = !store.chats.size;
  const said = isNobody ? words.nobody : words.empty;
  empty.replaceChildren(
    make("p", { role: "heading", ariaLevel: "1" }, said),
    ...(isNobody ? [make("button", { className: "go", onclick: meet }, words.newContact)] : []),
  );
  document.body.classList.toggle("nobody", isNobody);
}

function close() {
  talk.close();
  pane.hidden = true;
  empty.hidden = false;
  document.body.classList.remove("open");
  list.choose("");
}

/** Show whether the profile is open. @param {boolean} is */
function begun(is) {
  start.hidden = is;
  document.body.classList.toggle("started", is);
  if (is) start.replaceChildren();
}

/** Ask for what has to be done first. @param {{ state: string, opens_with?: string }} found */
async function ask(found) {
  const mine = ++turn;
  const { showStart } = await import("./start.js");
  if (mine !== turn) return;
  begun(false);
  showStart(line, found);
  document.documentElement.dataset.usable = "1";
}

async function begin() {
  away.hidden = true;
  const all = await line.ask("begin").catch((why) => {
    if (why.message !== "gone") throw why; // it begins again once there is a line
  });
  if (!all) return;
  if (all.state !== "open") {
    if (isOpen) location.reload(); // nothing of a locked profile stays in the page
    await ask(all);
    return;
  }
  isOpen = true;
  turn++;
  if (keepRooms(all)) return;
  begun(true);
  list.begin();
  greet();
  if (list.current && !store.chats.has(list.current)) close(); // it went meanwhile
  talk.status(all.status);
  await talk.reload();
  document.documentElement.dataset.usable = "1";
}

beginRooms(line);
store.addEventListener("open", (event) => {
  if (event instanceof CustomEvent) void open(event.detail.chat, event.detail.message);
});
line.addEventListener("open", () => void begin());
line.addEventListener("state", () => void begin());
line.addEventListener("away", () => (away.hidden = false));
line.addEventListener("summary", (event) => {
  if (!(event instanceof CustomEvent)) return;
  const { summary } = event.detail;
  list.put(summary);
  if (!empty.hidden) greet(); // it may be the first
  if (summary.chat === list.current) head(summary); // a group may have another name now
});
line.addEventListener("status", (event) => {
  if (!(event instanceof CustomEvent)) return;
  talk.status(event.detail.status);
  const open = store.chats.get(list.current);
  if (open) head(open);
});
store.addEventListener("drop", (event) => {
  if (!(event instanceof CustomEvent)) return;
  list.drop(event.detail);
  if (event.detail === list.current) close();
  greet();
});
list.addEventListener("click", (event) => {
  const row = event.target instanceof Element ? event.target.closest("a") : null;
  if (!row) return;
  event.preventDefault();
  void open(row.hash.slice(1));
});
back.addEventListener("click", close);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || pane.hidden) return;
  if (isCovered()) return;
  // Where there is nothing else to undo, one leaves the conversation; not from beside it.
  const at = document.activeElement;
  if (at !== document.body && !pane.contains(at)) return;
  event.preventDefault();
  const row = list.querySelector("a[aria-current]");
  close();
  if (row instanceof HTMLElement) row.focus();
});
