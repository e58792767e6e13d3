/** What is said of the warnings that the client keeps for the person, by their codes. */

import { warnings } from "./words.js";

/** What of others could not be read: to the person all of it is one. */
const UNREAD = [
  "invalid-message",
  "invalid-commit",
  "invalid-key-package",
  "invalid-credential",
  "invalid-cell",
  "invalid-file",
  "reused-secret",
  "too-old",
  "wrong-epoch",
  "own-message",
  "malformed-frame",
  "frame-too-large",
];
/** What a relay did not take. */
const REFUSED = [
  "no-such-drop",
  "no-access",
  "drop-conflict",
  "bad-cell",
  "cell-too-large",
  "wrong-region",
  "not-in-ledger",
  "unexpected-reply",
  "broken-ledger",
  "broken-move",
  "broken-descriptor",
  "broken-seal",
  "hop-refused",
];

/** The sentence for a warning. @param {string} code */
export function warned(code) {
  const key = UNREAD.includes(code) ? "unread" : REFUSED.includes(code) ? "refused" : code;
  return warnings[key] ?? (warnings.other ?? "").replace("{code}", code);
}
