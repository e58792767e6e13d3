/** The words that a page seldom needs: it loads them with what shows them. */

import { faults, language } from "./words.js";

/** @import * as English from "./more-en.js" */

/** @type {typeof English} */
const spoken = await import(`./more-${language}.js`);
export const { events, kinds } = spoken;
/** @type {Record<keyof typeof English.words, string>} */
export const more = spoken.words;
Object.assign(faults, spoken.faults); // whatever can fail so has loaded this
