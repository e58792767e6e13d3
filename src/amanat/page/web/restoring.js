/** A profile from a backup, for a person whose device is gone. */

import { bar } from "./backups.js";
import { make } from "./dom.js";
import { more } from "./more.js";
import { field, hint } from "./parts.js";
import { line as sentence } from "./phrase.js";
import { TYPED } from "./recovery.js";
import { form, opener, showStart } from "./start.js";
import { number, words } from "./words.js";

/** @import { Line } from "./line.js" */

/** How many words a phrase has (WORDS). */
const WORDS = 24;

/** @param {Line} line */
export function showRestoring(line) {
  const place = field(more.backupPlace, {
    dir: "ltr",
    placeholder: "/media/…",
    maxLength: 4096,
    required: true,
  });
  const phrase = /** @type {HTMLTextAreaElement} */ (make("textarea", {
    ...TYPED,
    maxLength: 1000,
    autocomplete: "off",
    required: true,
  }));
  const many = make("p", { className: "hint" });
  const count = () => {
    const said = phrase.value.split(/\s+/u).filter((one) => one).length;
    many.textContent = sentence(more.restoreCount, {
      n: number.format(said),
      all: number.format(WORDS),
    });
  };
  phrase.addEventListener("input", count);
  count();
  const secret = opener();
  const back = make("button", { type: "button", className: "plain" }, more.restoreNot);
  back.onclick = () => showStart(line, { state: "new" });
  form(words.restore, more.restoreHelp, more.restoreNow, [
    back,
    make("p", { className: "notice" }, more.restoreOut),
    place.element,
    make(
      "div",
      {},
      make("label", { className: "field" }, make("span", {}, more.restorePhrase), phrase),
      many,
    ),
    ...secret.elements,
    hint(more.restoreSecret),
    bar(),
  ], async () => {
    back.hidden = true;
    try {
      await secret.use((passphrase) =>
        line.ask("restore", { backup: place.input.value, phrase: phrase.value, passphrase })
      );
    } finally {
      back.hidden = false;
    }
    location.hash = "restored"; // it outlives a page that is loaded again, in another language
  });
  place.input.focus();
}
