/** Conversations of a restored profile that are not back yet. */

import { more } from "./more.js";
import { says } from "./parts.js";
import { many } from "./phrase.js";
import { store } from "./store.js";

/** How many of them wait for somebody in them to let this device in, and what to do if they cannot. */
export function waiting() {
  const count = [...store.chats.values()].filter(({ state }) => state === "astray").length;
  if (!count) return [];
  const isReached = !store.status || !isHomeless(store.status);
  return [
    says(many("restoredWait", count, more)),
    ...(isReached ? [] : [says(more.restoredHomeless)]),
  ];
}

/** Whether no home of ours answers. @param {import("./store.js").Status} status */
export function isHomeless({ away, relay, fallback }) {
  return [relay, fallback].every((one) => !one || away.includes(one));
}
