/** Announces what has come: in the title, in the tab's icon and, if the person wants it, aloud. */

import { find } from "./dom.js";
import { isMuted, list } from "./list.js";
import { plain } from "./phrase.js";
import { store } from "./store.js";
import { number, words } from "./words.js";

/** @import { Line, MessageTold } from "./line.js" */

/** The last row of each conversation that is known: only what comes after it is new. */
const known = /** @type {Map<string, number>} */ (new Map());

/** @param {Line} line */
export function watchNews(line) {
  const icon = find("link[rel=icon]", HTMLLinkElement);
  store.addEventListener("chats", () => {
    const unread = [...store.chats.values()]
      .filter((one) => !isMuted(one) && !one.is_archived)
      .reduce((sum, one) => sum + one.unread, 0);
    document.title = unread ? `(${number.format(unread)}) Amanat` : "Amanat";
    const file = unread ? "icon-unread.svg" : "icon.svg";
    if (icon.getAttribute("href") !== file) icon.setAttribute("href", file);
  });
  line.addEventListener("message", (event) => {
    if (event instanceof CustomEvent) announce(event.detail);
  });
}

/** @param {MessageTold} told */
function announce({ chat, message }) {
  const summary = store.chats.get(chat);
  const before = known.get(chat) ?? summary?.last?.row ?? 0;
  known.set(chat, Math.max(before, message.row));
  if (message.row <= before || message.own || !summary || isMuted(summary)) return;
  if (list.current === chat && document.visibilityState === "visible" && document.hasFocus()) {
    return;
  }
  const how = store.settings.notify;
  if (!how || Notification.permission !== "granted") return;
  const title = how === "named" ? plain(words.newFrom, { who: summary.name }) : words.newMessage;
  const shown = new Notification(title, { tag: chat, icon: "icon.svg", lang: words.locale });
  shown.onclick = () => {
    focus();
    store.open(chat);
    shown.close();
  };
}
