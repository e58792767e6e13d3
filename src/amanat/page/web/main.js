/** Puts the parts of the page together. */

import { find, make } from "./dom.js";
import { history } from "./history.js";
import { Line } from "./line.js";
import { list } from "./list.js";
import { beginRooms, keepRooms } from "./rooms.js";
import { StartPage } from "./start.js";
import { store } from "./store.js";
import { language, words } from "./words.js";

/** How long after the last key the draft is kept. */
const DRAFT_MS = 400;

const line = new Line();
const pane = find("main", HTMLElement);
const form = find("form", HTMLFormElement);
const box = find("textarea", HTMLTextAreaElement);
const title = find("h1 bdi", HTMLElement);
const rest = find(".rest", HTMLElement);
const empty = find(".empty", HTMLElement);
const away = find(".away", HTMLElement);
const start = find("start-page", StartPage);
let current = "";
let isOpen = false;
let drafting = 0;

document.documentElement.lang = language;
document.documentElement.dir = words.direction;
box.placeholder = words.write;
box.ariaLabel = words.write;
const send = find("button.send", HTMLButtonElement);
send.ariaLabel = words.send;
send.append(make("span", { ariaHidden: "true" }, "➤"));
const back = find("button.back", HTMLButtonElement);
back.ariaLabel = words.back;
back.append(make("span", { ariaHidden: "true" }, "‹"));
away.append(words.away);

/** @param {string} chat @param {string} [message] the one to show */
async function open(chat, message) {
  const summary = list.summary(chat);
  if (!summary) return;
  keepDraft();
  current = chat;
  list.choose(chat);
  title.textContent = summary.name;
  box.value = summary.draft;
  pane.hidden = false;
  empty.hidden = true;
  document.body.classList.add("open");
  const held = document.activeElement;
  await history.open(
    chat,
    message ? { at: "around", message } : { at: summary.unread ? "unread" : "newest" },
  );
  // Whoever has gone on to write somewhere else goes on there.
  if (chat === current && document.activeElement === held) box.focus();
}

function close() {
  keepDraft();
  current = "";
  pane.hidden = true;
  empty.hidden = false;
  document.body.classList.remove("open");
  list.choose("");
}

function keepDraft() {
  clearTimeout(drafting);
  drafting = 0;
  if (!current || box.value === (list.summary(current)?.draft ?? "")) return;
  void line.ask("draft", { chat: current, text: box.value }).catch(() => {});
}

async function say() {
  const text = box.value.trim();
  if (!text) return;
  const chat = current;
  box.value = "";
  try {
    await line.ask("send", { chat, text });
    await line.ask("draft", { chat, text: "" });
  } catch {
    if (chat === current && !box.value) box.value = text; // nothing that was written is lost
  }
}

async function begin() {
  away.hidden = true;
  const all = await line.ask("begin");
  if (all.state !== "open") {
    if (isOpen) location.reload(); // nothing of a locked profile stays in the page
    start.show(line, all);
    document.documentElement.dataset.usable = "1";
    return;
  }
  isOpen = true;
  if (keepRooms(all)) return;
  start.show(line, all);
  list.begin(all.chats);
  rest.textContent = `${words.rests} ${all.status.region}`;
  empty.replaceChildren(
    make("p", { role: "heading", ariaLevel: "1" }, all.chats.length ? words.empty : words.nobody),
  );
  if (current) await history.open(current, { at: "newest" });
  document.documentElement.dataset.usable = "1";
}

history.begin(line);
beginRooms(line);
store.addEventListener("open", (event) => {
  if (event instanceof CustomEvent) void open(event.detail.chat, event.detail.message);
});
line.addEventListener("open", () => void begin());
line.addEventListener("state", () => void begin());
line.addEventListener("gone", () => (away.hidden = false));
line.addEventListener("summary", (event) => {
  if (event instanceof CustomEvent) list.put(event.detail.summary);
});
list.addEventListener("click", (event) => {
  const row = event.target instanceof Element ? event.target.closest("a") : null;
  if (!row) return;
  event.preventDefault();
  void open(row.hash.slice(1));
});
back.addEventListener("click", close);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  void say();
});
box.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  void say();
});
box.addEventListener("input", () => {
  clearTimeout(drafting);
  drafting = setTimeout(keepDraft, DRAFT_MS);
});
