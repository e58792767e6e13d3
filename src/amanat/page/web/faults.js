/** What is said when something could not be done, by the code of the error. */

import { faults } from "./words.js";

/** The sentence for what an ask failed with. @param {unknown} error */
export function fault(error) {
  const code = error instanceof Error ? error.message : "";
  return faults[code] ?? (faults.other ?? "").replace("{code}", code);
}
