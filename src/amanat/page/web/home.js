/** Home: where what is said to the person rests, by which ways it comes, and what went wrong. */

import { isHomeless, waiting } from "./awaiting.js";
import { shortDay, shortMoment } from "./days.js";
import { make } from "./dom.js";
import { transportLines } from "./details.js";
import { isMoving, moving, showExit } from "./leaving.js";
import {
  address,
  button,
  buttons,
  choice,
  confirm,
  field,
  hint,
  part,
  relayFields,
  says,
  toggle,
  way,
} from "./parts.js";
import { ownName } from "./own.js";
import { bdi, fill, many, names, region, regionList } from "./phrase.js";
import { goBack, show } from "./sheet.js";
import { store } from "./store.js";
import { warned } from "./warned.js";
import { number, words } from "./words.js";

/** @import { Move, Status } from "./store.js" */
/** @import { Piece } from "./sheet.js" */

const LOOK_MS = 5000;
const MB = 1_000_000;
/** What cover costs in a day, in megabytes, by its period: measured in docs/benchmarks.md. */
const COVER_MB = { 30: 101, 60: 51 };

export function showHome() {
  // Nobody tells how far the news of a new home has come.
  const looking = setInterval(() => void store.ask("status").catch(() => {}), LOOK_MS);
  show({
    end: () => clearInterval(looking),
    title: words.home,
    on: ["status"],
    build: () => {
      const status = store.status;
      if (!status) return [];
      return [
        ...status.moves.map((one) => move(status, one)),
        ...warnings(status),
        ...trouble(status),
        ...moving(status),
        ownName(status),
        place(status),
        fallback(status),
        regions(status),
        ...later(status),
        transport(status),
        cover(status),
        proxy(status),
        part(words.yourWords, outbound(status)),
        way([words.anotherPlace], showPlace, "place"),
      ];
    },
  });
}

/** @param {string} address its last part is the relay's key, and says nothing to a person */
function short(address) {
  return address.replace(/\/?[?#].*$/u, "").replace(/^amanat:\/\//u, "");
}

/** @param {Status} status @param {string} relay */
function reach(status, relay) {
  return status.away.includes(relay) ? words.relayAway : words.relayThere;
}

/** @param {Status} status */
function place(status) {
  return part(
    words.yourHome,
    says(...fill(words.homeIn, { where: region(status.region) })),
    ...(status.operator ? [says(...fill(words.operatedBy, { who: bdi(status.operator) }))] : []),
    says(reach(status, status.relay)),
    ...(isHomeless(status) ? [says(words.homeGone)] : []),
    hint(address(short(status.relay))),
    way([words.exit], () => showExit(), "exit"),
  );
}

/** @param {Status} status */
function fallback(status) {
  return part(
    words.fallback,
    ...(status.fallback
      ? [
        says(...fill(words.fallbackIn, {
          where: region(status.fallback_region),
          who: bdi(status.fallback_operator || short(status.fallback)),
        })),
        says(reach(status, status.fallback)),
        hint(address(short(status.fallback))),
        buttons(
          button(words.changeFallback, () => Promise.resolve(showFallback())),
          button(words.noFallback, () =>
            confirm(
              words.noFallback,
              [words.noFallbackWhat],
              words.noFallback,
              () => store.ask("fallback", { relay: "" }),
            )),
        ),
      ]
      : [
        says(words.fallbackNone),
        buttons(button(words.addFallback, () => Promise.resolve(showFallback()))),
      ]),
    toggle(
      [words.strict],
      status.is_strict,
      (is_strict) => store.ask("strict", { is_strict }),
      "strict",
    ),
  );
}

/** @param {Status} status */
function regions(status) {
  const allowed = status.allowed_regions;
  return part(
    words.allowed,
    says(
      ...(allowed ? fill(words.allowedIn, { where: regionList(allowed) }) : [words.allowedAny]),
    ),
    way([words.changeAllowed], showRegions, "regions"),
  );
}

/** What is not done yet, or was lost, after homes were left. @param {Status} status */
function later(status) {
  const { left_behind, lost_invites, lost_knocks, missing, outbox, former } = status;
  /** @type {Piece[]} */
  const lines = waiting();
  for (const one of former) {
    lines.push(says(...fill(one.is_away ? words.formerAway : words.formerRead, {
      where: region(one.region),
      relay: address(short(one.relay)),
    })));
  }
  if (left_behind.length) {
    lines.push(says(...fill(words.leftBehind, { which: names(left_behind) })));
  }
  if (lost_invites.length) lines.push(says(many("lostInvites", lost_invites.length)));
  if (lost_knocks.length) lines.push(says(...fill(words.lostKnocks, { who: names(lost_knocks) })));
  for (const one of missing) {
    lines.push(says(...fill(many("missing", one.many), {
      who: bdi(one.sender),
      where: bdi(one.conversation),
    })));
  }
  if (outbox && !isMoving(status)) lines.push(says(many("outbox", outbox)));
  return lines.length ? [part(words.notYet, ...lines)] : [];
}

/** @param {Status} status @param {Move} one */
function move(status, one) {
  const allowed = status.allowed_regions;
  const stay = () =>
    store.ask("regions", { regions: [...new Set([...allowed ?? [], one.region])] });
  return make(
    "section",
    { className: "notice" },
    make("h3", {}, words.moves),
    says(...fill(words.moveWhat, {
      where: region(one.region),
      on: shortDay(Date.parse(one.on)),
      by: shortDay(Date.parse(one.decide_by)),
    })),
    ...(one.reason ? [hint(...fill(words.moveReason, { reason: bdi(one.reason) }))] : []),
    ...(one.is_allowed ? [says(words.moveStays)] : [says(words.moveHolds)]),
    buttons(
      ...(one.is_allowed ? [] : [button(words.stay, stay)]),
      button(words.leaveRelay, () => Promise.resolve(showExit())),
    ),
  );
}

/** @param {Status} status */
function warnings({ warnings }) {
  if (!warnings.length) return [];
  return [
    part(
      words.warnings,
      ...warnings.map((one) =>
        make(
          "div",
          { className: "warning" },
          says(warned(one.code)),
          hint(
            ...[
              one.whom ? [bdi(one.whom)] : [],
              one.conversation && one.conversation !== one.whom ? [bdi(one.conversation)] : [],
              [shortMoment(one.at)],
              one.many > 1 ? [many("times", one.many)] : [],
            ].filter((piece) => piece.length).flatMap((piece, place) =>
              place ? [" · ", ...piece] : piece
            ),
          ),
        )
      ),
      buttons(button(words.seen, () => store.ask("clear warnings"), "chief")),
    ),
  ];
}

/** @param {Status} status */
function trouble({ away, relay, fallback }) {
  const others = away.filter((one) => one !== relay && one !== fallback);
  return others.length ? [says(many("othersAway", others.length))] : [];
}

/** @param {Status} status */
function transport(status) {
  const why = /** @type {Record<string, string>} */ ({
    "hops are switched off": words.whyOff,
    "it is the hop itself": words.whySelf,
    "a hop needs a second relay, of another operator": words.whyOne,
    "both relays have the same operator, or do not name one": words.whySame,
    "the other relay does not pass requests on": words.whyRefuses,
  })[status.why];
  return part(
    words.transport,
    says(...transportLines()),
    ...(why ? [hint(why)] : []),
    ...(status.hop ? [hint(...fill(words.hopIs, { hop: address(short(status.hop)) }))] : []),
    ...(status.exposed.length ? [says(many("exposed", status.exposed.length))] : []),
    buttons(
      button(words.hopAuto, () => store.ask("hop", { hop: "auto" })),
      button(words.hopOff, () =>
        confirm(
          words.hopOff,
          [words.hopOffWhat],
          words.hopOff,
          () => store.ask("hop", { hop: "off" }),
        )),
      button(words.hopTo, () => Promise.resolve(showHop())),
    ),
  );
}

/** @param {Status} status */
function cover({ period, cost }) {
  /** @param {30 | 60} period_s @returns {[string, string]} */
  const option = (period_s) => [
    String(period_s),
    words.coverEvery.replace("{s}", number.format(period_s))
      .replace("{mb}", number.format(COVER_MB[period_s])),
  ];
  return part(
    words.cover,
    hint(words.coverWhat),
    choice(
      words.cover,
      String(period),
      [["0", words.coverOff], option(60), option(30)],
      (value) => store.ask("cover", { period_s: Number(value) }),
      { isTitled: true },
    ),
    ...(period
      ? [
        says(
          words.coverCost
            .replace("{mb}", number.format(Math.round((cost.up_bytes + cost.down_bytes) / MB)))
            .replace("{usual}", number.format(Math.round(cost.usual_s)))
            .replace("{longest}", number.format(Math.round(cost.longest_s))),
        ),
      ]
      : []),
  );
}

/** @param {Status} status */
function proxy({ proxy, is_proxy_away }) {
  return part(
    words.proxy,
    says(...(proxy ? fill(words.proxyIs, { proxy: address(proxy) }) : [words.proxyNone])),
    ...(is_proxy_away ? [says(words.proxyAway)] : []),
    buttons(
      button(words.proxySet, () => Promise.resolve(showProxy())),
      ...(proxy
        ? [button(words.proxyOff, () =>
          confirm(
            words.proxyOff,
            [words.proxyOffWhat],
            words.proxyOff,
            () => store.ask("proxy", { proxy: "" }),
          ))]
        : []),
    ),
  );
}

/** @param {Status} status */
function outbound({ outbound, outbound_by }) {
  if (outbound_by === "relay") return says(words.holdByRelay);
  return choice(
    words.outbound,
    outbound,
    [["deposit", words.outboundDeposit], ["hold", words.outboundHold]],
    (policy) => store.ask("outbound", { policy }),
  );
}

// The pages that lead on from it

function showFallback() {
  const { elements, values } = relayFields();
  show({
    title: words.fallback,
    build: () => [
      says(words.fallbackWhat),
      ...elements,
      buttons(
        button(words.useRelay, async () => {
          await store.ask("fallback", values());
          goBack();
        }, "chief"),
      ),
    ],
  });
}

function showPlace() {
  const { elements: [element], values } = relayFields();
  show({
    title: words.anotherPlace,
    build: () => [
      says(words.placeWhat),
      ...(element ? [element] : []),
      buttons(
        button(words.set, async () => {
          await store.ask("place", { relay: values().relay });
          goBack();
        }, "chief"),
      ),
    ],
  });
}

function showHop() {
  const { elements: [element], values } = relayFields();
  show({
    title: words.hopTo,
    build: () => [
      says(words.hopToWhat),
      ...(element ? [element] : []),
      buttons(
        button(words.set, async () => {
          await store.ask("hop", { hop: values().relay });
          goBack();
        }, "chief"),
      ),
    ],
  });
}

function showProxy() {
  const where = field(words.proxyAddress, {
    dir: "ltr",
    autofocus: true,
    placeholder: "127.0.0.1:9050",
  });
  const login = field(words.proxyLogin, { dir: "ltr", className: "masked" });
  show({
    title: words.proxySet,
    build: () => [
      says(words.proxyHelp),
      where.element,
      login.element,
      buttons(
        button(words.set, async () => {
          await store.ask("proxy", { proxy: where.input.value.trim(), login: login.input.value });
          goBack();
        }, "chief"),
      ),
    ],
  });
}

function showRegions() {
  const allowed = store.status?.allowed_regions;
  const any = /** @type {HTMLInputElement} */ (make("input", {
    type: "checkbox",
    checked: allowed === null,
  }));
  const codes = field(words.regionCodes, {
    dir: "ltr",
    value: (allowed ?? []).join(", "),
    autofocus: true,
  });
  const named = make("p", { className: "hint", role: "status" });
  const read = () =>
    codes.input.value.toUpperCase().split(/[^A-Z]+/u).filter((one) => /^[A-Z]{2}$/u.test(one));
  const name = () => (named.textContent = read().length ? regionList(read()) : "");
  codes.input.oninput = name;
  name();
  const update = () => (codes.element.hidden = named.hidden = any.checked);
  any.onchange = update;
  update();
  show({
    title: words.allowed,
    build: () => [
      says(words.allowedWhat),
      make("label", { className: "toggle" }, any, words.anyRegion),
      codes.element,
      named,
      buttons(
        button(words.set, async () => {
          await store.ask("regions", { regions: any.checked ? null : read() });
          goBack();
        }, "chief"),
      ),
    ],
  });
}
