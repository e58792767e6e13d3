/** The links that were said in a conversation, the newest first. Nothing of any is fetched. */

import { moment, shortMoment } from "./days.js";
import { make } from "./dom.js";
import { grow, toMessage } from "./gallery.js";
import { linksIn } from "./links.js";
import { more } from "./more.js";
import { store } from "./store.js";
import { words } from "./words.js";

/** @import { Message } from "./line.js" */

/** @param {string} chat */
export function showLinks(chat) {
  grow({
    chat,
    title: more.links,
    empty: more.linksEmpty,
    ask: (where) => store.ask("links", where),
    made: (one) => made(chat, one),
  });
}

/** The links of a message, each once. @param {string} chat @param {Message} message */
function made(chat, { id, own, sender, sent_at, text }) {
  const who = own ? words.you : sender;
  return [...new Set(linksIn(text).map(({ link }) => link))].map((link) =>
    make(
      "button",
      {
        type: "button",
        className: "way",
        title: `${who}${words.comma}${moment(sent_at)}`,
        "data-key": `${id} ${link}`,
        onclick: () => toMessage(chat, id),
      },
      make("bdi", { dir: "ltr" }, link),
      make(
        "small",
        {},
        make("bdi", {}, who), // each in its own direction
        " · ",
        make("bdi", {}, shortMoment(sent_at)),
      ),
    )
  );
}
