/** Why the client has not done something, in words. */

import { phrase } from "./phrases.js";
import { words } from "./words.js";

/** @type {Record<string, string>} */
const SENTENCES = {
  "gone": words.refusedGone,
  "message-too-large": words.refusedTooLarge,
  "blocked": words.refusedBlocked,
  "not-a-member": words.refusedNotAMember,
  "identity-changed": words.refusedIdentityChanged,
  "unknown-message": words.refusedUnknownMessage,
  "unknown-conversation": words.refusedUnknownConversation,
  "not-yours": words.refusedNotYours,
  "bad-argument": words.refusedBadArgument,
  "out-of-step": words.refusedOutOfStep,
  "profile-locked": words.refusedLocked,
  "disk-full": words.refusedDiskFull,
  "file-too-large": words.refusedDiskFull,
  "disk-failed": words.refusedDiskFailed,
  "relay-unreachable": words.refusedRelay,
  "relay-busy": words.refusedRelay,
  "drop-full": words.refusedRelay,
  "draining": words.refusedRelay,
  "hop-away": words.refusedHop,
  "no-hop": words.refusedHop,
};

/** @param {unknown} why what an ask failed with @returns {string} */
export function refusal(why) {
  const code = why instanceof Error ? why.message : String(why);
  return SENTENCES[code] ?? phrase(words.refused, { code }).join("");
}
