/** The end: everything that this device has of the person is destroyed. */

import { make } from "./dom.js";
import { button, buttons, field, says } from "./parts.js";
import { bdi, fill } from "./phrase.js";
import { show } from "./sheet.js";
import { store } from "./store.js";
import { words } from "./words.js";

export function showWipe() {
  const name = store.status?.name ?? "";
  const typed = field(words.yourName, { autofocus: true });
  const wipe = async () => {
    if (typed.input.value.trim() !== name) throw new Error("other-name");
    await store.wipe(name);
    showEnd();
  };
  show({
    title: words.wipe,
    build: () => [
      make("p", { className: "notice" }, words.wipeWhat),
      says(words.wipeOthers),
      says(...fill(words.wipeName, { name: bdi(name) })),
      typed.element,
      buttons(button(words.wipe, wipe, "bad")),
    ],
  });
}

/** Nothing else is left in the page. */
function showEnd() {
  document.body.replaceChildren(
    make(
      "div",
      { className: "ended", role: "main" },
      make("h1", { tabIndex: -1, autofocus: true }, words.wiped),
      make("p", { role: "status" }, words.wipedWhat),
    ),
  );
  document.querySelector("h1")?.focus();
}
