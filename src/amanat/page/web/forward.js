/** Where the words of messages are said again. */

import { make } from "./dom.js";
import { face } from "./face.js";
import { fold } from "./find.js";
import { field, hint } from "./parts.js";
import { bdi } from "./phrase.js";
import { act, leave, show } from "./sheet.js";
import { store } from "./store.js";
import { isNotes, titleOf } from "./title.js";
import { words } from "./words.js";

/** @import { Message, Summary } from "./line.js" */

/** The states of conversations in which one can say something. */
const OPEN = ["active", "astray", "notes"];

/** Notes that nobody has begun yet: the client is asked for them once they are needed. */
const NO_NOTES = /** @type {Summary} */ ({ chat: "", name: "", state: "notes" });

/**
 * Ask where to, and forward them there in this order.
 * @param {string} chat @param {Message[]} messages
 * @param {() => void} [done]
 */
export function showForward(chat, messages, done = () => {}) {
  const rows = targets().map((one) => {
    const waiting = messages.map(({ id }) => id); // after a fault, the rest alone is tried again
    const row = make(
      "button",
      { type: "button", className: "way target", "data-key": `to ${one.chat}` },
      face(one),
      bdi(titleOf(one)),
    );
    row.onclick = () => act(() => forward(chat, waiting, one, done));
    return { row, name: fold(titleOf(one)) };
  });
  const search = field(words.search, { type: "search", autofocus: true });
  search.input.oninput = () => {
    const wanted = fold(search.input.value.trim());
    for (const { row, name } of rows) row.hidden = !name.includes(wanted);
  };
  const list = make("div", {}, search.element, ...rows.map(({ row }) => row));
  list.addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const all = [search.input, ...rows.map(({ row }) => row).filter((row) => !row.hidden)];
    all[all.findIndex((one) => one === document.activeElement) + way]?.focus();
  });
  show({ title: words.forwardTo, build: () => [hint(words.forwardWhat), list] });
}

/** Our notes, and then the conversations with the newest first. */
function targets() {
  const all = [...store.chats.values()].filter((one) => OPEN.includes(one.state) && !one.is_blocked)
    .sort((a, b) => (b.last?.sent_at ?? 0) - (a.last?.sent_at ?? 0));
  return [all.find(isNotes) ?? NO_NOTES, ...all.filter((one) => !isNotes(one))];
}

/**
 * @param {string} chat @param {string[]} waiting @param {Summary} target
 * @param {() => void} done
 */
async function forward(chat, waiting, target, done) {
  const to = target.chat || (await store.ask("notes")).chat;
  for (const message of [...waiting]) {
    await store.ask("forward", { chat, message, to });
    waiting.shift();
  }
  done();
  leave();
  store.open(to);
}
