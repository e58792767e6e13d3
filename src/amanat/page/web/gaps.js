/** Messages that exist and are not here: a note for each sender, in the place of the messages. */

import { make } from "./dom.js";
import { bdi, fill, form } from "./phrase.js";
import { number } from "./words.js";

/** @import { Entry } from "./message.js" */
/** @import { Missing } from "./store.js" */

export class Gaps {
  /** Where notes stand whose place is not in the page, or after all messages. */
  element = make("div", { className: "after" });
  /** @type {{ missing: Missing, note: HTMLElement }[]} */
  #all = [];

  /** @param {Missing[]} missing those of the conversation that is open */
  set(missing) {
    for (const { note } of this.#all) note.remove();
    this.#all = missing.map((one) => ({ missing: one, note: said(one) }));
  }

  /**
   * Put each note before the first message of its sender that came after what is missing.
   * @param {Entry[]} entries those that are in the page @param {boolean} isAll whether none stands before them
   */
  place(entries, isAll) {
    for (const { missing, note } of this.#all) {
      const theirs = entries.filter((one) => sentBy(one).who === missing.who);
      const next = theirs.find((one) => sentBy(one).seq > missing.upto);
      // Without one before it in the page, an earlier one may stand above.
      const at = next && (isAll || next !== theirs[0]) ? next.article : undefined;
      if (at && note.nextElementSibling !== at) at.before(note);
      else if (!at && note.parentElement !== this.element) this.element.append(note);
    }
  }
}

/** The sender of a message, and its place among theirs. @param {Entry} entry */
function sentBy({ message }) {
  const [, who = "", seq = ""] = message.position.split(".");
  return { who, seq: Number(seq) };
}

/** @param {Missing} missing */
function said({ sender, many }) {
  return make(
    "p",
    { className: "missing", role: "note" },
    ...fill(form("gap", many), {
      many: number.format(many),
      name: bdi(sender),
    }),
  );
}
