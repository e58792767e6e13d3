/** Meeting people, and the people one has met. */

import { shortMoment, span } from "./days.js";
import { draw, make } from "./dom.js";
import {
  address,
  button,
  buttons,
  choice,
  confirm,
  copy,
  field,
  hint,
  part,
  says,
  way,
} from "./parts.js";
import { INVITE } from "./links.js";
import { bdi, fill } from "./phrase.js";
import { reading } from "./scan.js";
import { act, goBack, leave, rebuild, show } from "./sheet.js";
import { store } from "./store.js";
import { words } from "./words.js";

/** @import { Contact } from "./store.js" */

/** @typedef {{ id: string, made_at: number, expires_at: number, is_lost: boolean }} Invite */

/** Modules of white around a code, without which cameras do not find it (ISO/IEC 18004). */
const QUIET = 4;
const DAY_S = 86_400;
/** How long an invite may work, in seconds; and how long it does, unless one chooses. */
const LIVES = [3600, DAY_S, 14 * DAY_S, 90 * DAY_S];
const USUAL = 14 * DAY_S;

export function showNewContact() {
  show({
    title: words.newContact,
    on: ["people"],
    build: async () => {
      /** @type {Invite[]} */
      const invites = await store.ask("invites");
      return [
        way([words.showCode], showInvite, "code"),
        way([words.useLink], () => showAccept(), "link"),
        ...(invites.length ? [part(words.openInvites, ...invites.map(openInvite))] : []),
      ];
    },
  });
}

/** @param {Invite} one */
function openInvite(one) {
  return make(
    "div",
    { className: "line" },
    make(
      "span",
      {},
      one.is_lost
        ? words.inviteLost
        : fill(words.inviteUntil, { when: shortMoment(one.expires_at) }).join(""),
    ),
    button(
      words.withdraw,
      async () => {
        await store.ask("withdraw invite", { invite: one.id });
        await rebuild();
      },
      "",
      one.id,
    ),
  );
}

function showInvite() {
  /** @type {Promise<Invite & { link: string, code: string[] }> | undefined} */
  let made;
  let life = USUAL;
  const begin = () => store.ask("invite", { life_s: life });
  /** @param {string} wanted */
  const live = async (wanted) => {
    const before = await made;
    life = Number(wanted);
    made = begin();
    await made;
    await store.ask("withdraw invite", { invite: before?.id });
    await rebuild();
  };
  show({
    title: words.showCode,
    on: ["people"], // somebody new has used it
    build: async () => {
      const invite = await (made ??= begin());
      /** @type {Invite[]} */
      const invites = await store.ask("invites");
      if (!invites.some((one) => one.id === invite.id)) {
        const done = button(words.done, () => Promise.resolve(leave()), "chief");
        return [make("p", { role: "status" }, words.inviteTaken), buttons(done)];
      }
      return [
        code(invite.code),
        says(
          ...fill(words.inviteOnce, { when: shortMoment(invite.expires_at) }),
        ),
        hint(words.inviteHow),
        make("p", { className: "link", tabIndex: 0 }, address(invite.link)),
        buttons(
          copy(words.copyLink, invite.link, "chief"),
          button(words.withdraw, async () => {
            await store.ask("withdraw invite", { invite: invite.id });
            goBack();
          }),
        ),
        choice(
          words.inviteLife,
          String(life),
          LIVES.map((one) => [String(one), span(1000 * one)]),
          live,
        ),
      ];
    },
  });
}

/** A QR code as one shape. @param {string[]} lines */
function code(lines) {
  const size = lines.length + 2 * QUIET;
  const squares = lines.flatMap((line, y) =>
    [...line].map((one, x) => one === "1" ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : "")
  );
  return draw(
    "svg",
    { viewBox: `0 0 ${size} ${size}`, class: "code", role: "img", "aria-label": words.codeLabel },
    draw("path", { d: `M0 0h${size}v${size}h-${size}z`, class: "white" }),
    draw("path", { d: squares.join(""), class: "black" }),
  );
}

/** @param {string} [link] */
export function showAccept(link = "") {
  const pasted = field(words.pasteLink, { dir: "ltr", value: link, autofocus: true });
  const greeting = field(words.greeting);
  const use = async () => {
    const found = INVITE.exec(pasted.input.value)?.[0] ?? pasted.input.value.trim();
    await knock(found, greeting.input.value);
  };
  show({
    title: words.useLink,
    build: () => [
      pasted.element,
      greeting.element,
      buttons(button(words.knock, use, "chief")),
      reading((read) => {
        pasted.input.value = read;
      }),
    ],
  });
}

/** Knock with a link; if that cannot be, the sheet for links says why. @param {string} link */
export function knockAtOnce(link) {
  return knock(link, "").catch((error) => {
    showAccept(link);
    void act(() => Promise.reject(error));
  });
}

/** @param {string} link @param {string} greeting */
async function knock(link, greeting) {
  const { inviter } = await store.ask("accept", { link, greeting });
  showKnocked(inviter);
}

/** @param {string} inviter */
function showKnocked(inviter) {
  show({
    title: words.knocked,
    build: () => [
      says(...fill(words.knockedOn, { who: bdi(inviter) })),
      buttons(button(words.done, () => Promise.resolve(leave()), "chief")),
    ],
  });
}

// The people one has met

/** Whether it is really them. @param {Contact} contact */
export function safety({ id, name, verified }) {
  return part(
    words.safety,
    says(...fill(verified ? words.isVerified : words.isNotVerified, { who: bdi(name) })),
    way([words.showNumber], () => showNumber(id), "number"),
  );
}

/** Whether they are heard. @param {Contact} contact */
export function blocking({ id, name, blocked }) {
  return part(
    words.block,
    ...(blocked
      ? [
        says(...fill(words.isBlocked, { who: bdi(name) })),
        button(words.unblock, () => store.ask("block", { contact: id, is_blocked: false })),
      ]
      : [
        button(words.block, () =>
          confirm(
            words.block,
            fill(words.blockWhat, { who: bdi(name) }),
            words.block,
            () => store.ask("block", { contact: id, is_blocked: true }),
          ), "bad"),
      ]),
  );
}

/** @param {string} id */
function showNumber(id) {
  show({
    title: words.safety,
    on: ["people"],
    build: async () => {
      const contact = store.contacts.find((one) => one.id === id);
      if (!contact) return [];
      const { number: digits } = await store.ask("safety number", { contact: id });
      const groups = digits.match(/\d{5}/gu) ?? [];
      const is_verified = !contact.verified;
      return [
        says(...fill(words.compare, { who: bdi(contact.name) })),
        make(
          "p",
          { className: "number", dir: "ltr", translate: false },
          ...groups.map((/** @type {string} */ one) => make("span", {}, ` ${one} `)),
        ),
        hint(words.sameNumber),
        ...(contact.verified ? [says(...fill(words.isVerified, { who: bdi(contact.name) }))] : []),
        buttons(
          button(
            contact.verified ? words.withdrawVerified : words.confirmSame,
            () => store.ask("verify", { contact: id, is_verified }),
            contact.verified ? "bad" : "chief",
            "verify",
          ),
        ),
      ];
    },
  });
}
