/** What opens the profile, the passphrase or the system's keyring, and another in its place. */

import { make } from "./dom.js";
import { button, buttons, hint, says, secret, toggle } from "./parts.js";
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
  const help = hint(words.passphraseHelp);
  let isWithKeyring = false;
  const keyring = toggle([words.withKeyring], false, (is) => {
    isWithKeyring = is;
    next.element.hidden = again.element.hidden = is;
    help.textContent = is ? words.keyringHelp : words.passphraseHelp;
    return Promise.resolve();
  }, "keyring");
  const change = async () => {
    if (!isWithKeyring) {
      if (!next.input.value) throw new Error("bad-argument");
      if (next.input.value !== again.input.value) throw new Error("differ");
    }
    await store.ask("passphrase", {
      old: old ? old.input.value : null,
      new: isWithKeyring ? null : next.input.value,
    }).catch((why) => {
      throw isWithKeyring && why.message === "bad-argument" ? new Error("no-keyring") : why;
    });
    goBack();
    showChanged(isWithKeyring ? words.keyringSet : words.passphraseChanged);
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
      help,
      ...(old ? [keyring] : []),
      buttons(button(words.changePassphrase, change, "chief")),
    ],
  });
}

/** @param {string} said */
function showChanged(said) {
  show({
    title: words.changePassphrase,
    build: () => [
      make("p", { role: "status" }, said),
      buttons(button(words.done, () => Promise.resolve(goBack()), "chief")),
    ],
  });
}
