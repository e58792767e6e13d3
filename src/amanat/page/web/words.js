/** The language of the page, and its words. */

/** @import * as English from "./words-en.js" */

/**
 * All words of English; and where a language counts otherwise, its further forms of those that are
 * counted.
 * @typedef {Record<keyof typeof English.words, string> & {
 *   [form: `${string}${"Zero" | "Two" | "Few" | "Many"}`]: string,
 * }} Words
 */

/** The languages that have a file `words-….js`, each by its code: the server has looked. */
const codes = document.querySelector("meta[name=languages]")?.getAttribute("content")?.split(" ") ??
  [];

/** The languages by what they call themselves. @type {Record<string, string>} */
export const languages = Object.fromEntries(codes.map((one) => [one, nameOf(one)]));

/** What the person has set of it stands in the address: all parts of the page need it at once. */
const set = new URLSearchParams(location.search);
const wanted = [set.get("language") ?? "", ...navigator.languages].map((one) =>
  one.split("-")[0] ?? ""
);

export const language = wanted.find((one) => codes.includes(one)) ?? "en";
/** @type {typeof English} */
const spoken = await import(`./words-${language}.js`);
export const { emoji, faults, warnings } = spoken;
/** @type {Words} */
export const words = {
  ...spoken.words,
  locale: new Intl.Locale(spoken.words.locale, {
    calendar: set.get("calendar") ?? undefined,
    numberingSystem: set.get("digits") ?? undefined,
  }).toString(),
};

/** @param {string} code */
function nameOf(code) {
  const [first = "", ...rest] = new Intl.DisplayNames([code], { type: "language" }).of(code) ??
    code;
  return first.toLocaleUpperCase(code) + rest.join("");
}

/** Whether hours are counted to twelve: then nobody writes a zero before them. */
const isHalf = new Intl.DateTimeFormat(words.locale, { hour: "numeric" }).resolvedOptions().hour12;
export const clock = new Intl.DateTimeFormat(words.locale, {
  hour: isHalf ? "numeric" : "2-digit",
  minute: "2-digit",
});
export const number = new Intl.NumberFormat(words.locale);
