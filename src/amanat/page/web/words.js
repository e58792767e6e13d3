/** The language of the page, and its words. */

import * as english from "./english.js";
import * as persian from "./persian.js";

/** @typedef {Record<keyof typeof english.words, string>} Words */

const all = { en: english, fa: persian };
export const languages = { en: english.words, fa: persian.words };

/** What the person has set of it stands in the address: all parts of the page need it at once. */
const set = new URLSearchParams(location.search);
const wanted = [set.get("language") ?? "", ...navigator.languages].map((one) => one.slice(0, 2));

export const language = /** @type {keyof typeof all} */ (wanted.find((one) => one in all) ?? "en");
export const { emoji, faults, warnings } = all[language];
/** @type {Words} */
export const words = {
  ...languages[language],
  locale: new Intl.Locale(languages[language].locale, {
    calendar: set.get("calendar") ?? undefined,
    numberingSystem: set.get("digits") ?? undefined,
  }).toString(),
};

export const clock = new Intl.DateTimeFormat(words.locale, { hour: "2-digit", minute: "2-digit" });
export const number = new Intl.NumberFormat(words.locale);
