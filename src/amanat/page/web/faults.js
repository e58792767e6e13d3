/** What is said when something could not be done, by the code of the error. */

import { faults, number } from "./words.js";

/** The sentence for what an ask failed with. @param {unknown} error */
export function fault(error) {
  const { message: code, cause } = error instanceof Error ? error : new Error("");
  const [n = ""] = /\d+/u.exec(String(cause)) ?? []; // such as the place of a word
  return (faults[code] ?? (faults.other ?? "").replace("{code}", code))
    .replace("{n}", number.format(Number(n)));
}
