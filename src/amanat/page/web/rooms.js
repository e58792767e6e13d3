/** Puts together all that stands around the conversation. */

import { found, putBar } from "./bar.js";
import { find, make } from "./dom.js";
import { icon } from "./icons.js";
import "./keys.js";
import { list } from "./list.js";
import { look, speak } from "./look.js";
import { watchIdle } from "./idle.js";
import { watchNews } from "./news.js";
import { store } from "./store.js";
import { words } from "./words.js";

/** @import { Line } from "./line.js" */

/** @param {Line} line */
export function beginRooms(line) {
  store.begin(line);
  putBar();
  const info = make("button", { type: "button", className: "info", ariaLabel: words.details });
  info.append(icon("info"));
  info.onclick = () =>
    void import("./details.js").then(({ showDetails }) => showDetails(list.current));
  find("main > header", HTMLElement).append(info);
  line.addEventListener("state", forgetRooms);
  line.addEventListener("settings", () => speak(store.settings)); // another tab may have set them
  watchNews(line);
  watchIdle();
}

/** Show nothing of a profile that was locked; if it was opened, everything is asked for anew. */
function forgetRooms() {
  for (const one of document.querySelectorAll("dialog")) one.close();
  found.clear();
  store.forget();
  list.begin();
}

/**
 * Keep all that the client has said. Whether the page is loaded again, in another language.
 * @param {any} all
 */
export function keepRooms(all) {
  store.keep(all);
  if (speak(store.settings)) return true;
  if (location.hash === "#restored") {
    void import("./backups.js").then(({ showRestored }) => showRestored());
  }
  return false;
}

store.addEventListener("settings", () => look(store.settings.theme ?? ""));
