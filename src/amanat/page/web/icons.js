/** The small pictures of the page, each drawn of lines. */

import { draw, make } from "./dom.js";

const LINES = {
  attach:
    "M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.4 3.4 0 0 1 4.8 4.8l-8.3 8.3a1.7 1.7 0 0 1-2.4-2.4L14 8",
  camera: "M4 8h4l2-3h4l2 3h4v11H4zM12 10a3.5 3.5 0 1 0 0 7a3.5 3.5 0 1 0 0-7",
  mic: "M9 6a3 3 0 0 1 6 0v5a3 3 0 0 1-6 0zM5 11a7 7 0 0 0 14 0M12 18v3",
  play: "M8 5l11 7-11 7z",
  pause: "M8 5v14M16 5v14",
  file: "M6 3h8l5 5v13H6zM14 3v5h5",
  plus: "M12 5v14M5 12h14",
  more: "M12 5.5v.01M12 12v.01M12 18.5v.01",
  info: "M12 11v6M12 7.5v.01M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18",
  pin: "M9 4h6l-1 6 3 3H7l3-3zM12 13v7",
  mute: "M6 16h12l-2-3V9a4 4 0 0 0-8 0v4zM10.5 19h3M4 4l16 16",
  shield: "M12 3l7 3v5c0 5-3 8-7 10-4-2-7-5-7-10V6zM9 12l2 2 4-4",
  close: "M6 6l12 12M18 6L6 18",
  back: "M15 5l-7 7 7 7",
  on: "M9 5l7 7-7 7",
  notes: "M6 3h9l4 4v14H6zM15 3v4h4M9 12h7M9 16h5",
  open: "M6 9.5l6 6 6-6",
  send: "M4 12V5l17 7-17 7v-7h8",
  reply: "M9 6l-6 6 6 6M3 12h11a7 7 0 0 1 7 7",
  down: "M12 4v15M6 13l6 6 6-6",
  older: "M5 15l7-7 7 7",
  newer: "M5 9l7 7 7-7",
  day: "M4 6h16v14H4zM4 10h16M8 3v5M16 3v5",
  search: "M11 5a6 6 0 1 0 0 12a6 6 0 1 0 0-12M20 20l-4.5-4.5",
};

/**
 * A picture that says nothing that is not written beside it.
 * @param {keyof typeof LINES} name
 */
export function icon(name) {
  return draw(
    "svg",
    { viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" },
    draw("path", { d: LINES[name] }),
  );
}

/**
 * A round button that shows a picture alone; its label is read aloud, and shown under the pointer.
 * @param {keyof typeof LINES} name @param {string} label @param {() => void} act
 */
export function iconButton(name, label, act) {
  return make(
    "button",
    { type: "button", className: "round", ariaLabel: label, title: label, onclick: act },
    icon(name),
  );
}
