/** The passphrase that opens the profile, and another one in its place. */

import { make } from "./dom.js";
import { button, buttons, field, hint, says } from "./parts.js";
import { goBack, show } from "./sheet.js";
import { store } from "./store.js";
import { words } from "./words.js";

export function showPassphrase() {
  // Whoever opens it with the system's keyring has no passphrase yet.
  const old = store.opensWith === "keyring"
    ? undefined
    : secret(words.oldPassphrase, { autocomplete: "current-password", autofocus: true });
  const next = secret(words.nextPassphrase, { autofocus: !old });
  const again = secret(words.nextAgain);
  const change = async () => {
    if (!next.input.value) throw new Error("bad-argument");
    if (next.input.value !== again.input.value) throw new Error("differ");
    const { opens_with } = await store.ask("passphrase", {
      old: old ? old.input.value : null,
      new: next.input.value,
    });
    store.opensWith = opens_with;
    goBack();
    showChanged();
  };
  show({
    title: words.changePassphrase,
    build: () => [
      says(words.changePassphraseWhat),
      make(
        "form",
        { onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
        // Password managers look for whose passphrase it is.
        make("input", { autocomplete: "username", hidden: true }),
        ...(old ? [old.element] : []),
        next.element,
        again.element,
      ),
      hint(words.passphraseHelp),
      buttons(button(words.changePassphrase, change, "chief")),
    ],
  });
}

function showChanged() {
  show({
    title: words.changePassphrase,
    build: () => [
      make("p", { role: "status" }, words.passphraseChanged),
      buttons(button(words.done, () => Promise.resolve(goBack()), "chief")),
    ],
  });
}

/** @param {string} label @param {Record<string, unknown>} [more] */
function secret(label, more = {}) {
  return field(label, { type: "password", autocomplete: "new-password", dir: "ltr", ...more });
}
