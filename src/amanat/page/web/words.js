/** The language of the page, and its words. */

/** @import * as English from "./english.js" */

/** @typedef {Record<keyof typeof English.words, string>} Words */

/** The languages by what they call themselves. */
export const languages = { en: "English", fa: "فارسی" };
/** Their files: the page loads that of one. */
const files = { en: () => import("./english.js"), fa: () => import("./persian.js") };

/** What the person has set of it stands in the address: all parts of the page need it at once. */
const set = new URLSearchParams(location.search);
const wanted = [set.get("language") ?? "", ...navigator.languages].map((one) => one.slice(0, 2));

export const language =
  /** @type {keyof typeof files} */ (wanted.find((one) => one in files) ?? "en");
const spoken = await files[language]();
export const { emoji, faults, warnings } = spoken;
/** @type {Words} */
export const words = {
  ...spoken.words,
  locale: new Intl.Locale(spoken.words.locale, {
    calendar: set.get("calendar") ?? undefined,
    numberingSystem: set.get("digits") ?? undefined,
  }).toString(),
};

/** Whether hours are counted to twelve: then nobody writes a zero before them. */
const isHalf = new Intl.DateTimeFormat(words.locale, { hour: "numeric" }).resolvedOptions().hour12;
export const clock = new Intl.DateTimeFormat(words.locale, {
  hour: isHalf ? "numeric" : "2-digit",
  minute: "2-digit",
});
export const number = new Intl.NumberFormat(words.locale);
