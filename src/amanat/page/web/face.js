/** The face of a conversation: its initial, on a colour that stays the same. */

import { make } from "./dom.js";

const COLOURS = 6;
const graphemes = new Intl.Segmenter();

/** @param {string} name @param {string} key what the colour comes from */
export function face(name, key) {
  const [first] = graphemes.segment(name);
  const colour = parseInt(key.slice(-6), 16) % COLOURS || 0;
  return make(
    "span",
    { className: `face face-${colour}`, ariaHidden: "true" },
    first?.segment.toUpperCase() ?? "",
  );
}
