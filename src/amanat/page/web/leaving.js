/** Leaving for another home, and how far the news of it has come. */

import { make } from "./dom.js";
import { button, buttons, confirm, hint, part, relayFields, says } from "./parts.js";
import { line, many, names } from "./phrase.js";
import { goBack, show } from "./sheet.js";
import { store } from "./store.js";
import { number, words } from "./words.js";

/** @import { Status } from "./store.js" */

export function showExit() {
  const { elements, values } = relayFields();
  show({
    title: words.exit,
    build: () => [
      says(words.exitWhat),
      ...elements,
      buttons(
        button(words.exit, () => {
          const to = values();
          return confirm(words.exit, [words.exitSure], words.exit, () => exit(to));
        }, "chief"),
      ),
    ],
  });
}

/** @param {{ relay: string, access: string }} to */
async function exit(to) {
  let isShown = true;
  show({
    title: words.exit,
    build: () => [
      make("p", { role: "status", className: "going" }, words.exitGoing),
      make("progress", { ariaLabel: words.exit }),
      hint(words.goesOn),
    ],
    end: () => (isShown = false),
  });
  try {
    await store.ask("exit", to);
  } catch (error) {
    if (isShown) goBack();
    throw error;
  }
  if (!isShown) return;
  goBack();
  goBack(); // to what led to the fields: it shows how far the news comes
}

/** Whether some people do not know yet where the person is. @param {Status} status */
export function isMoving({ unaware }) {
  return unaware.length > 0;
}

/** How many of the people know it, and what else waits. @param {Status} status */
export function moving(status) {
  if (!isMoving(status)) return [];
  const { unaware, to_tell, outbox } = status;
  const knowing = to_tell - unaware.length;
  const sentence = line(words.knowing, {
    n: number.format(knowing),
    m: number.format(to_tell),
  });
  return [
    part(
      words.moved,
      says(sentence),
      make("progress", { ariaLabel: words.moved, max: to_tell, value: knowing }),
      make(
        "details",
        {},
        make("summary", {}, many("unaware", unaware.length)),
        says(...names(unaware)),
      ),
      ...(outbox ? [says(many("outbox", outbox))] : []),
      hint(words.goesOn),
    ),
  ];
}
