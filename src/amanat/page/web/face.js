/** The face of a conversation: its initial, on a colour that stays the same. */

import { make } from "./dom.js";
import { icon } from "./icons.js";
import { isNotes } from "./title.js";

/** @import { Summary } from "./line.js" */

const COLOURS = 6;
const graphemes = new Intl.Segmenter();

/** @param {Summary} one */
export function face(one) {
  const { name, chat } = one;
  const [first] = graphemes.segment(name);
  const colour = parseInt(chat.slice(-6), 16) % COLOURS || 0;
  return make(
    "span",
    { className: `face face-${isNotes(one) ? "notes" : colour}`, ariaHidden: "true" },
    isNotes(one) ? icon("notes") : first?.segment.toUpperCase() ?? "",
  );
}
