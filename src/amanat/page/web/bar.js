/** What stands above the list: oneself, the search, and what can be begun. */

import { make } from "./dom.js";
import { RoomFind } from "./find.js";
import { icon } from "./icons.js";
import { list, spoken } from "./list.js";
import { menu } from "./menu.js";
import { bdi, directionOf, fill } from "./phrase.js";
import { store } from "./store.js";
import { words } from "./words.js";

/** @import { Offer, Visitor } from "./store.js" */

const me = make("button", { type: "button", className: "me" });
const plus = make("button", {
  type: "button",
  className: "round",
  ariaLabel: words.begin,
  ariaHasPopup: "menu",
}, icon("plus"));
const settings = make("button", { type: "button", className: "plain" }, words.settings);
export const found = new RoomFind();
const asking = make("div", { className: "offers" });

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
    asking,
    found,
  );
}

store.addEventListener("status", () => {
  const status = store.status;
  if (!status) {
    me.replaceChildren();
    settings.replaceChildren(words.settings);
    return;
  }
  const isTroubled = status.warnings.length > 0 || status.away.length > 0;
  me.replaceChildren(
    bdi(status.name),
    ...(isTroubled ? lookHere() : []),
  );
  const { error, is_late, is_asked } = status.backups;
  settings.replaceChildren(words.settings, ...(error || is_late || is_asked ? lookHere() : []));
  me.title = words.home;
});
store.addEventListener(
  "people",
  () => asking.replaceChildren(...store.visitors.map(visitor), ...store.offers.map(offer)),
);

/** A mark on what leads to something that needs the person. */
function lookHere() {
  return [make("span", { className: "trouble", title: words.lookHere }), spoken(words.lookHere)];
}

/** Somebody has knocked, and waits. @param {Visitor} one */
function visitor(one) {
  const who = { visitor: one.id };
  return question(
    [
      make("p", {}, ...fill(words.visits, { who: bdi(one.name) })),
      ...(one.blocked ? [make("p", { className: "notice" }, words.wasBlocked)] : []),
      ...(one.greeting ? [greeting(one.greeting)] : []),
    ],
    (ask) => [
      button({ className: "chief", onclick: ask("let in", who) }, words.letIn),
      button({ title: words.turnAwayHint, onclick: ask("turn away", who) }, words.turnAway),
    ],
  );
}

/** Words of a stranger: however many, they push nothing out of sight. @param {string} text */
function greeting(text) {
  return make("p", { className: "greeting", dir: directionOf(text), tabIndex: 0 }, text);
}

/** Somebody wants the person in a group. @param {Offer} one */
function offer(one) {
  const what = { offer: one.id };
  return question(
    [make("p", {}, ...fill(words.offered, { who: bdi(one.by), group: bdi(one.name) }))],
    (ask) => [
      button({ className: "chief", onclick: ask("accept offer", what) }, words.join),
      button({ onclick: ask("decline offer", { ...what, is_blocked: false }) }, words.decline),
      button({
        className: "bad",
        title: words.blockOfferHint,
        onclick: ask("decline offer", { ...what, is_blocked: true }),
      }, words.block),
    ],
  );
}

/**
 * What waits for the person's answer.
 * @param {HTMLElement[]} said
 * @param {(
 *   ask: (what: string, fields: Record<string, unknown>) => () => Promise<void>,
 * ) => HTMLElement[]} answers
 */
function question(said, answers) {
  const failed = make("p", { role: "alert" });
  const buttons = answers((what, fields) => async () => {
    try {
      await store.ask(what, fields);
    } catch (error) {
      const { fault } = await import("./faults.js");
      failed.textContent = fault(error);
    }
  });
  return make(
    "section",
    { className: "offer" },
    ...said,
    make("div", { className: "buttons" }, ...buttons),
    failed,
  );
}

/** @param {Record<string, unknown>} properties @param {string} label */
function button(properties, label) {
  return make("button", { type: "button", ...properties }, label);
}
