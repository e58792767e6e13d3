/** What is said when something could not be done, by the code of the error. */

import { faults } from "./words.js";

/** The sentence for what an ask failed with. @param {unknown} error */
export function fault(error) {
  return faultOf(error instanceof Error ? error.message : "");
}

/** The sentence for the code of an error. @param {string} code */
export function faultOf(code) {
  return faults[code] ?? (faults.other ?? "").replace("{code}", code);
}
