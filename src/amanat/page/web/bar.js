/** What stands above the list: oneself, the search, and what can be begun. */

import { make } from "./dom.js";
import { RoomFind } from "./find.js";
import { icon } from "./icons.js";
import { list, spoken } from "./list.js";
import { menu } from "./menu.js";
import { bdi, fill } from "./phrase.js";
import { store } from "./store.js";
import { words } from "./words.js";

/** @import { Offer } from "./store.js" */

const me = make("button", { type: "button", className: "me" });
const plus = make("button", {
  type: "button",
  className: "round",
  ariaLabel: words.begin,
  ariaHasPopup: "menu",
}, icon("plus"));
const settings = make("button", { type: "button", className: "plain" }, words.settings);
export const found = new RoomFind();
const offers = make("div", { className: "offers" });

me.onclick = () => void import("./home.js").then(({ showHome }) => showHome());
settings.onclick = () => void import("./settings.js").then(({ showSettings }) => showSettings());
plus.onclick = () =>
  menu(plus, [
    {
      label: words.newContact,
      act: () => void import("./people.js").then(({ showNewContact }) => showNewContact()),
    },
    {
      label: words.newGroup,
      act: () => void import("./groups.js").then(({ showNewGroup }) => showNewGroup()),
    },
    {
      label: words.notes,
      // Without a line there is a sentence about that already.
      act: () => void store.ask("notes").then(({ chat }) => store.open(chat)).catch(() => {}),
    },
  ]);
found.addEventListener("look", () => (list.hidden = !found.hidden));

/** Put it above the list. */
export function putBar() {
  list.before(
    make("div", { className: "bar" }, me, settings, plus, found.box),
    offers,
    found,
  );
}

store.addEventListener("status", () => {
  const status = store.status;
  if (!status) {
    me.replaceChildren();
    return;
  }
  const isTroubled = status.warnings.length > 0 || status.away.length > 0;
  me.replaceChildren(
    bdi(status.name),
    ...(isTroubled
      ? [make("span", { className: "trouble", title: words.lookHere }), spoken(words.lookHere)]
      : []),
  );
  me.title = words.home;
});
store.addEventListener("people", () => offers.replaceChildren(...store.offers.map(row)));

/** Somebody wants the person in a group. @param {Offer} offer */
function row(offer) {
  const failed = make("p", { role: "alert" });
  /** @param {string} what @param {Record<string, unknown>} [more] */
  const ask = (what, more) => async () => {
    try {
      await store.ask(what, { offer: offer.id, ...more });
    } catch (error) {
      const { fault } = await import("./faults.js");
      failed.textContent = fault(error);
    }
  };
  return make(
    "section",
    { className: "offer" },
    make("p", {}, ...fill(words.offered, { who: bdi(offer.by), group: bdi(offer.name) })),
    make(
      "div",
      { className: "buttons" },
      make(
        "button",
        { type: "button", className: "chief", onclick: ask("accept offer") },
        words.join,
      ),
      make("button", {
        type: "button",
        onclick: ask("decline offer", { is_blocked: false }),
      }, words.decline),
      make("button", {
        type: "button",
        className: "bad",
        title: words.blockOfferHint,
        onclick: ask("decline offer", { is_blocked: true }),
      }, words.block),
    ),
    failed,
  );
}
