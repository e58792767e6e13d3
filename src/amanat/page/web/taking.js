/** What one takes away of a conversation: a copy for elsewhere, or everything that is here. */

import { address, button, buttons, confirm, hint, part, says, way } from "./parts.js";
import { bdi, fill } from "./phrase.js";
import { leave, show } from "./sheet.js";
import { store } from "./store.js";
import { isNotes } from "./title.js";
import { words } from "./words.js";

/** @import { Details } from "./details.js" */
/** @import { Contact } from "./store.js" */

/** @param {Details} about @param {Contact} [contact] */
export function taking(about, contact) {
  const { chat } = about;
  return part(
    words.taking,
    way([words.export], () => showExport(chat), "export"),
    buttons(
      button(words.clear, () => clear(about), "bad"),
      ...(contact ? [button(words.removeContact, () => remove(contact), "bad")] : []),
    ),
  );
}

/** @param {Details} about */
function clear(about) {
  const { chat, state } = about;
  // One that is over goes from the list with its messages, and so do its details.
  const isOver = ["left", "removed", "replaced"].includes(state);
  const what = isNotes(about) ? words.clearNotesWhat : words.clearWhat;
  return confirm(
    words.clear,
    isOver ? [what, " ", words.clearOverWhat] : [what],
    words.lose,
    () => store.ask("clear", { chat }),
    isOver ? leave : undefined,
  );
}

/** @param {Contact} contact */
function remove({ id, name }) {
  return confirm(
    words.removeContact,
    fill(words.removeContactWhat, { who: bdi(name) }),
    words.removeContact,
    () => store.ask("remove contact", { contact: id }),
    leave,
  );
}

/** @param {string} chat */
function showExport(chat) {
  /** @param {"html" | "json"} form */
  const save = (form) => async () => {
    const { file } = await store.ask("export", { chat, form });
    showSaved(file);
  };
  show({
    title: words.export,
    build: () => [
      says(words.exportWhat),
      buttons(
        button(words.exportPage, save("html"), "chief"),
        button(words.exportData, save("json")),
      ),
    ],
  });
}

/** @param {string} file */
function showSaved(file) {
  show({
    title: words.exported,
    build: () => [
      says(...fill(words.exportedTo, { file: address(file) })),
      hint(words.exportedHint),
      buttons(button(words.done, () => Promise.resolve(leave()), "chief")),
    ],
  });
}
