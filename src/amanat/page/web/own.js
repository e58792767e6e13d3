/** One's own name, under which others see what one says. */

import { button, buttons, field, part, says, way, withName } from "./parts.js";
import { bdi } from "./phrase.js";
import { goBack, show } from "./sheet.js";
import { store } from "./store.js";
import { words } from "./words.js";

/** @import { Status } from "./store.js" */

/** @param {Status} status */
export function ownName({ name }) {
  return part(words.yourName, says(bdi(name)), way([words.changeName], showName, "name"));
}

export function showName() {
  const name = field(words.yourName, {
    value: store.status?.name ?? "",
    autofocus: true,
  });
  show({
    title: words.changeName,
    build: () => [
      name.element,
      says(words.nameWhat),
      buttons(
        button(words.set, async () => {
          await withName(name, (taken) => store.ask("name", { name: taken }));
          goBack();
        }, "chief"),
      ),
    ],
  });
}
