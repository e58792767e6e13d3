/** Sentences with something in them: a name, a number, a time. */

import { words } from "./words.js";

const PLACE = /\{(\w+)\}/u;
const rules = new Intl.PluralRules(words.locale);

/**
 * The pieces of a sentence, with elements or texts in the place of {names}.
 * @param {string} sentence
 * @param {Record<string, Node | string>} values
 * @returns {(Node | string)[]}
 */
export function phrase(sentence, values) {
  return sentence.split(PLACE).map((piece, i) => i % 2 ? values[piece] ?? "" : piece);
}

/**
 * The same as one string, of words and numbers of ours alone: a name needs an element of its own.
 * @param {string} sentence
 * @param {Record<string, string>} values
 */
export function line(sentence, values) {
  return phrase(sentence, values).join("");
}

/**
 * The form of a sentence for so many.
 * @param {{ one: string, other: string }} forms
 * @param {number} many
 */
export function form(forms, many) {
  return rules.select(many) === "one" ? forms.one : forms.other;
}
