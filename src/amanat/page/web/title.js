/** What a conversation is called, and which ones are not what they are called. */

import { words } from "./words.js";

/** @import { Summary } from "./line.js" */

/** Whether these are our notes to ourselves. @param {{ state: string }} one */
export function isNotes({ state }) {
  return state === "notes";
}

/** The client calls our notes by our own name. @param {Summary} one */
export function titleOf(one) {
  return isNotes(one) ? words.notes : one.name;
}
