/** Sentences with something in them: names, numbers and regions. */

import { make } from "./dom.js";
import { number, words } from "./words.js";

const plural = new Intl.PluralRules(words.locale);
const listing = new Intl.ListFormat(words.locale, { type: "conjunction" });
const regions = new Intl.DisplayNames([words.locale], { type: "region", fallback: "code" });

/** A name of somebody or something: it turns nothing but itself. @param {string} name */
export function bdi(name) {
  return make("bdi", {}, name);
}

/**
 * A sentence with its `{gaps}` filled.
 * @param {string} sentence
 * @param {Record<string, Node | string | (Node | string)[]>} gaps
 * @returns {(Node | string)[]}
 */
export function fill(sentence, gaps) {
  return sentence.split(/\{(\w+)\}/u).flatMap((part, place) =>
    place % 2 ? (gaps[part] ?? "") : part
  );
}

/**
 * A sentence as text, for where there are no elements; what fills it is isolated.
 * @param {string} sentence
 * @param {Record<string, string>} gaps
 */
export function plain(sentence, gaps) {
  return sentence.replace(/\{(\w+)\}/gu, (_, name) => `\u2068${gaps[name] ?? ""}\u2069`);
}

/**
 * The sentence for a number of things, with the number in it.
 * @param {string} key
 * @param {number} n
 * @param {Record<string, string>} [from] the words
 */
export function many(key, n, from) {
  return form(key, n, from).replace("{n}", number.format(n));
}

/** Names one after the other. @param {string[]} names @returns {(Node | string)[]} */
export function names(names) {
  return listing.formatToParts(names).map((part) =>
    part.type === "element" ? bdi(part.value) : part.value
  );
}

/** The name of a region. XX is nobody's: a relay of this machine says it. @param {string} code */
export function region(code) {
  if (code === "XX") return words.thisMachine;
  try {
    return regions.of(code) ?? code;
  } catch {
    return code;
  }
}

/** @param {string[]} codes */
export function regionList(codes) {
  return listing.format(codes.map(region));
}

/**
 * A sentence as text, of words and numbers of ours alone: a name needs an element of its own.
 * @param {string} sentence
 * @param {Record<string, string>} gaps
 */
export function line(sentence, gaps) {
  return fill(sentence, gaps).join("");
}

/**
 * The form of a sentence for so many: words `…One` and `…Other`, or what else the language has.
 * @param {string} key
 * @param {number} n
 * @param {Record<string, string>} found the words
 */
export function form(key, n, found = words) {
  const kind = plural.select(n).replace(/^./u, (letter) => letter.toUpperCase());
  return found[key + kind] ?? found[`${key}Other`] ?? "";
}

/**
 * The direction of a text by its first letter, or that of the page. An element with `dir="auto"`
 * looks past the names in it, and so finds none if only a name has letters.
 * @param {string} text
 */
export function directionOf(text) {
  const letter = /\p{L}/u.exec(text)?.[0];
  if (!letter) return words.direction;
  return /\p{Script=Arabic}|\p{Script=Hebrew}/u.test(letter) ? "rtl" : "ltr";
}
