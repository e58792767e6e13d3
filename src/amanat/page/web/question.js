/** A question to the person, on which everything else waits. Esc is "no". */

import { make } from "./dom.js";
import { words } from "./words.js";

/** @typedef {{ value: string, label: string, isBad?: boolean }} Answer */

/**
 * Ask; the value of the answer that was pressed, or nothing.
 * @param {string} title
 * @param {Node[]} content
 * @param {Answer[]} answers
 * @param {string} [cancel] the words for "no"
 * @returns {Promise<string>}
 */
export function ask(title, content, answers, cancel = words.cancel) {
  const { promise, resolve } = Promise.withResolvers();
  const heading = make("h2", { id: "question" }, title);
  const buttons = answers.map(({ value, label, isBad }, i) => {
    const className = isBad ? "bad" : i ? "" : "good";
    const button = make("button", { type: "button", className }, label);
    button.addEventListener("click", () => dialog.close(value));
    return button;
  });
  const no = make("button", { type: "button" }, cancel);
  no.addEventListener("click", () => dialog.close(""));
  const dialog = /** @type {HTMLDialogElement} */ (make(
    "dialog",
    { className: "question", "aria-labelledby": "question" },
    heading,
    ...content,
    make("div", { className: "answers" }, no, ...buttons),
  ));
  // The field to write in, or else the answer that changes nothing.
  const first = dialog.querySelector("input") ?? no;
  first.autofocus = true;
  dialog.querySelector("input")?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    dialog.close(answers[0]?.value);
  });
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // Esc is for it alone
  dialog.addEventListener("close", () => {
    dialog.remove();
    resolve(dialog.returnValue);
  });
  document.body.append(dialog);
  dialog.showModal();
  return promise;
}
