/** Conversations of a restored profile that are not back yet. */

import { more } from "./more.js";
import { says } from "./parts.js";
import { many } from "./phrase.js";
import { store } from "./store.js";

/** How many of them wait for somebody in them to let this device in. */
export function waiting() {
  const count = [...store.chats.values()].filter(({ state }) => state === "astray").length;
  return count ? [says(many("restoredWait", count, more))] : [];
}
