/** What there is to know, and to set, about one conversation. */

import { shortMoment } from "./days.js";
import { make } from "./dom.js";
import { aboutGroup, leaving } from "./groups.js";
import { FOR_EVER_MS, isMuted } from "./list.js";
import { button, buttons, choice, field, hint, part, says, way } from "./parts.js";
import { blocking, safety } from "./people.js";
import { fill, many, names, region, regionList } from "./phrase.js";
import { goBack, show } from "./sheet.js";
import { store } from "./store.js";
import { taking } from "./taking.js";
import { isNotes, titleOf } from "./title.js";
import { words } from "./words.js";

/** @import { Summary } from "./line.js" */

/**
 * @typedef {{
 *   helper: string, signer: string, came: string[], went: string[], admins: string[],
 *   no_admins: string[], name: string | null,
 * }} Rejoinable
 * @typedef {{
 *   chat: string, name: string, state: string, is_direct: boolean, people: string[],
 *   admins: string[], roles: { may_add: string, may_remove: string, may_rename: string },
 *   region: string, inbound_region: string, outbound_regions: string[], outbound: string,
 *   held_by: string[], timer: number, hidden: number, added_by: string, wished: string[],
 *   rejoinable: Rejoinable[],
 * }} Details
 */

const DAY_S = 86_400;
const HOUR_MS = 3_600_000;
/** Lives to choose from, in seconds. */
const TIMERS = [0, 300, 3600, 8 * 3600, DAY_S, 7 * DAY_S, 28 * DAY_S];

/** @param {string} chat */
export function showDetails(chat) {
  const known = store.chats.get(chat);
  show({
    title: known ? titleOf(known) : "",
    on: ["people", chat],
    build: async () => {
      /** @type {Details} */
      const about = await store.ask("details", { chat });
      const summary = store.chats.get(chat);
      if (isNotes(about)) {
        return [
          part(words.restsWhere, says(words.notesRest)),
          timer(about),
          ...(summary ? [shown(summary)] : []),
          gallery(chat),
          taking(about),
        ];
      }
      const contact = store.contacts.find((one) => one.chat === chat);
      return [
        ...stateLines(about),
        ...(contact ? [safety(contact)] : []),
        ...(about.is_direct ? [] : aboutGroup(about, showDetails)),
        part(words.restsWhere, ...restLines(about)),
        part(words.transport, says(...transportLines())),
        timer(about),
        ...(summary ? [shown(summary)] : []),
        gallery(chat),
        taking(about, contact),
        ...(contact ? [blocking(contact)] : []),
        ...(about.is_direct ? [] : leaving(about)),
        ...(about.hidden ? [hint(many("hidden", about.hidden))] : []),
      ];
    },
  });
}

/** @param {string} chat */
function gallery(chat) {
  return way([words.gallery], () => {
    void import("./gallery.js").then(({ showGallery }) => showGallery(chat));
  }, "gallery");
}

/** @param {Details} about */
function stateLines(about) {
  const line = {
    leaving: words.stateLeaving,
    left: words.stateLeft,
    removed: words.stateRemoved,
    replaced: words.stateReplaced,
    astray: words.stateAstray,
  }[about.state];
  return line ? [make("p", { className: "notice" }, line)] : [];
}

/** Where the words of a conversation rest, in sentences. @param {Details} about */
function restLines(about) {
  const by = store.status?.outbound_by ?? "";
  const gap = { where: regionList(about.outbound_regions) };
  const outbound = about.outbound !== "hold"
    ? (by ? words.restNothingHeld : words.restOutbound)
    : by === "relay"
    ? words.restHeldByRelay
    : words.restHeld;
  return [
    says(...fill(words.restInbound, { where: region(about.inbound_region) })),
    says(...fill(about.outbound_regions.length ? outbound : words.restNowhere, gap)),
    ...(about.held_by.length
      ? [says(...fill(words.restHolders, { who: names(about.held_by) }))]
      : []),
    ...(about.is_direct ? [] : [hint(...fill(words.restMembers, { where: region(about.region) }))]),
  ];
}

/** How requests go just now, in a sentence or two. */
export function transportLines() {
  const status = store.status;
  if (!status) return [];
  const kind = { direct: words.goDirect, hopped: words.goHopped, covered: words.goCovered };
  return [
    kind[status.transport],
    ...(status.is_hop_away ? [" ", words.goHopAway] : []),
  ];
}

/** @param {Details} about */
function timer({ chat, timer: now, state }) {
  /** @param {number} seconds */
  const set = (seconds) => store.ask("timer", { chat, seconds });
  /** @type {[string, string][]} */
  const options = TIMERS.map((one) => [String(one), life(one)]);
  if (!TIMERS.includes(now)) options.push([String(now), life(now)]);
  options.push(["custom", words.timerCustom]);
  const select = choice(words.timer, String(now), options, async (value) => {
    if (value === "custom") showTimer(set);
    else await set(Number(value));
  }, { isTitled: true });
  const box = select.querySelector("select");
  if (box && !["active", "astray", "notes"].includes(state)) box.disabled = true;
  return part(words.timer, select, ...(state === "notes" ? [] : [hint(words.timerHint)]));
}

/** @param {(seconds: number) => Promise<unknown>} set */
function showTimer(set) {
  const days = field(words.timerDays, {
    type: "number",
    min: "1",
    max: "365",
    inputMode: "numeric",
    required: true,
    autofocus: true,
  });
  show({
    title: words.timer,
    build: () => [
      days.element,
      buttons(button(words.set, async () => {
        if (!days.input.reportValidity()) return;
        await set(Number(days.input.value) * DAY_S);
        goBack();
      }, "chief")),
    ],
  });
}

/** How long texts stay. @param {number} seconds */
function life(seconds) {
  if (!seconds) return words.timerOff;
  const days = seconds / DAY_S;
  if (days >= 7 && days % 7 === 0) return many("weeks", days / 7);
  if (days >= 1) return many("days", Math.round(days));
  return seconds >= 3600
    ? many("hours", Math.round(seconds / 3600))
    : many("minutes", Math.max(1, Math.round(seconds / 60)));
}

/** How it stands in the list. @param {Summary} one */
function shown(one) {
  const { chat } = one;
  /** @param {number | null} until */
  const mute = (until) => store.ask("mute", { chat, until });
  return part(
    words.inTheList,
    ...(isMuted(one)
      ? [
        says(
          ...(one.muted_until === null || one.muted_until >= FOR_EVER_MS
            ? [words.mutedEver]
            : fill(words.mutedUntil, { when: shortMoment(one.muted_until) })),
        ),
      ]
      : []),
    buttons(
      ...(isMuted(one) ? [button(words.unmute, () => mute(null), "", "mute")] : [
        button(words.muteHour, () => mute(Date.now() + HOUR_MS), "", "mute"),
        button(words.muteHours, () => mute(Date.now() + 8 * HOUR_MS)),
        button(words.muteEver, () => mute(FOR_EVER_MS)),
      ]),
      button(
        one.is_archived ? words.unarchive : words.archive,
        () => store.ask("archive", { chat, is_archived: !one.is_archived }),
        "",
        "archive",
      ),
    ),
  );
}
