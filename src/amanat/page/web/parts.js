/** The parts that sheets are made of. */

import { make } from "./dom.js";
import { icon } from "./icons.js";
import { bdi } from "./phrase.js";
import { ask } from "./question.js";
import { act, Unfit } from "./sheet.js";
import { words } from "./words.js";

/** @import { Piece } from "./sheet.js" */

/**
 * @param {string} label
 * @param {() => Promise<unknown>} deed
 * @param {"" | "chief" | "bad"} [kind] "chief": what most people want here; "bad": it is lost then
 * @param {string} [key] what it is found again by; its label, unless others have the same
 */
export function button(label, deed, kind = "", key = label) {
  const made = make("button", {
    type: "button",
    className: kind,
    "data-key": key,
    onclick: () => act(deed),
  }, label);
  return made;
}

/** A row that leads on. @param {Piece[]} label @param {() => void} go @param {string} key */
export function way(label, go, key) {
  return make(
    "button",
    { type: "button", className: "way", "data-key": key, onclick: go },
    make("span", {}, ...label),
    icon("on"),
  );
}

/** @param {string} title @param {...Piece} children */
export function part(title, ...children) {
  return make("section", {}, make("h3", {}, title), ...children);
}

/** @param {...Piece} children */
export function says(...children) {
  return make("p", {}, ...children);
}

/** @param {...Piece} children */
export function hint(...children) {
  return make("p", { className: "hint" }, ...children);
}

/** @param {...Piece} children */
export function buttons(...children) {
  return make("div", { className: "buttons" }, ...children);
}

/**
 * A field with its label.
 * @param {string} label
 * @param {Record<string, unknown>} [more]
 */
export function field(label, more = {}) {
  const input = /** @type {HTMLInputElement} */ (make("input", {
    type: "text",
    autocomplete: "off",
    spellcheck: false,
    dir: "auto",
    "data-key": label,
    ...more,
  }));
  const wrong = make("small", { id: `wrong ${label}`.replace(/\s/gu, "-"), role: "alert" });
  const element = make("label", { className: "field" }, make("span", {}, label), input);
  /** @param {string} sentence */
  const say = (sentence) => {
    wrong.textContent = sentence;
    input.ariaInvalid = sentence ? "true" : null;
    if (sentence) input.setAttribute("aria-describedby", wrong.id);
    else input.removeAttribute("aria-describedby");
  };
  input.addEventListener("input", () => say(""));
  /** Say why what was typed does not fit. @param {string} sentence @returns {never} */
  const refuse = (sentence) => {
    say(sentence);
    input.focus();
    throw new Unfit(sentence);
  };
  return { input, element: make("div", {}, element, wrong), refuse };
}

/**
 * A field for a passphrase.
 * @param {string} label
 * @param {Record<string, unknown>} [more]
 */
export function secret(label, more = {}) {
  return field(label, { type: "password", autocomplete: "new-password", dir: "ltr", ...more });
}

/** The most characters of a name (MAX_NAME_CHARS). */
const MOST_NAME = 100;

/**
 * Do something with the name in a field, if it is one; else the field says why it is none.
 * @template T
 * @param {ReturnType<typeof field>} box
 * @param {(name: string) => Promise<T>} deed
 */
export async function withName({ input, refuse }, deed) {
  const name = input.value.trim();
  if (!name) refuse(words.nameEmpty);
  if ([...name].length > MOST_NAME) refuse(words.nameLong);
  try {
    return await deed(name);
  } catch (error) {
    if (error instanceof Error && error.message === "bad-argument") refuse(words.nameUnfit);
    throw error;
  }
}

/**
 * One of a few.
 * @param {string} label
 * @param {string} value
 * @param {[string, string][]} options values and what they are called
 * @param {(value: string) => Promise<unknown>} chosen
 * @param {{ isTitled?: boolean }} [how] `isTitled` if its label stands above it already
 */
export function choice(label, value, options, chosen, { isTitled = false } = {}) {
  const select = /** @type {HTMLSelectElement} */ (make(
    "select",
    { "data-key": label },
    ...options.map(([one, name]) => make("option", { value: one, selected: one === value }, name)),
  ));
  select.onchange = () => act(() => chosen(select.value));
  const name = make("span", { className: isTitled ? "spoken" : "" }, label);
  const box = make("span", { className: "box" }, select, icon("open"));
  return make("label", { className: "choice" }, name, box);
}

/**
 * Yes or no.
 * @param {Piece[]} label
 * @param {boolean} is
 * @param {(is: boolean) => Promise<unknown>} chosen
 * @param {string} key
 */
export function toggle(label, is, chosen, key) {
  const box = /** @type {HTMLInputElement} */ (make("input", {
    type: "checkbox",
    checked: is,
    "data-key": key,
  }));
  box.onchange = () => act(() => chosen(box.checked));
  return make("label", { className: "toggle" }, box, make("span", {}, ...label));
}

/**
 * Ask the person before something that cannot be taken back.
 * @param {string} title
 * @param {Piece[]} what
 * @param {string} label of the button that does it
 * @param {() => Promise<unknown>} deed
 * @param {() => void} after where one is then
 */
export async function confirm(title, what, label, deed, after = () => {}) {
  if (!await ask(title, [says(...what)], [{ value: "yes", label, isBad: true }])) return;
  await act(async () => {
    await deed();
    after();
  });
}

/**
 * A button that copies a text.
 * @param {string} label @param {string} text @param {"" | "chief"} [kind]
 */
export function copy(label, text, kind = "") {
  const made = button(label, async () => {
    await navigator.clipboard.writeText(text);
    made.textContent = words.copied;
  }, kind);
  made.setAttribute("aria-live", "polite");
  return made;
}

/** An address of a relay: it is read from left to right everywhere. @param {string} address */
export function address(address) {
  return make("code", { dir: "ltr" }, address);
}

/** @typedef {{ key: string, name: string, sign?: Piece }} Pick */

/**
 * People to pick from.
 * @param {Pick[]} people
 * @param {(name: string) => string} fold
 */
export function picker(people, fold) {
  const boxes = people.map(({ key, name, sign }) => {
    const box = /** @type {HTMLInputElement} */ (make("input", { type: "checkbox", value: key }));
    const row = make("label", { className: "toggle" }, box, bdi(name), ...(sign ? [sign] : []));
    return { box, row, name: fold(name) };
  });
  const search = field(words.search, { type: "search" });
  search.input.oninput = () => {
    const wanted = fold(search.input.value.trim());
    for (const { row, name } of boxes) row.hidden = !name.includes(wanted);
  };
  return {
    element: make(
      "fieldset",
      {},
      make("legend", {}, words.people),
      ...(people.length > 7 ? [search.element] : []),
      ...boxes.map(({ row }) => row),
    ),
    picked: () => boxes.filter(({ box }) => box.checked).map(({ box }) => box.value),
  };
}

/** Fields for a relay. */
export function relayFields() {
  const relay = field(words.relayAddress, {
    dir: "ltr",
    autofocus: true,
    placeholder: "amanat://",
  });
  const access = field(words.accessCode, { dir: "ltr" });
  return {
    elements: [relay.element, access.element],
    values: () => ({ relay: relay.input.value.trim(), access: access.input.value.trim() }),
  };
}
