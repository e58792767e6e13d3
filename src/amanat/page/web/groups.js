/** Groups: begun, and changed. */

import { make } from "./dom.js";
import { fold } from "./find.js";
import { icon } from "./icons.js";
import { spoken } from "./list.js";
import { menu } from "./menu.js";
import {
  button,
  buttons,
  choice,
  confirm,
  field,
  hint,
  part,
  picker,
  says,
  way,
  withName,
} from "./parts.js";
import { bdi, fill, many, names } from "./phrase.js";
import { act, goBack, leave, show } from "./sheet.js";
import { store } from "./store.js";
import { words } from "./words.js";

/** @import { Details, Rejoinable } from "./details.js" */
/** @import { Contact } from "./store.js" */
/** @import { Item } from "./menu.js" */

export function showNewGroup() {
  const name = field(words.groupName, { autofocus: true });
  const people = picker(store.contacts.filter((one) => !one.blocked).map(pick), fold);
  const begin = async () => {
    const { chat } = await withName(
      name,
      (called) => store.ask("create group", { name: called, people: people.picked() }),
    );
    leave();
    store.open(chat);
  };
  show({
    title: words.newGroup,
    build: () => [
      name.element,
      store.contacts.length ? people.element : hint(words.nobodyToPick),
      buttons(button(words.beginGroup, begin, "chief")),
    ],
  });
}

/** @param {Contact} one */
function pick(one) {
  return {
    key: one.id,
    name: one.name,
    sign: one.verified ? make("span", { className: "sign" }, icon("shield")) : undefined,
  };
}

/**
 * What is under the name of a group.
 * @param {Details} about
 * @param {(chat: string) => void} showDetails shows a contact
 */
export function aboutGroup(about, showDetails) {
  const { state } = about;
  const isIn = state === "active";
  const own = store.status?.name ?? "";
  const isAdmin = about.admins.includes(own);
  /** @param {"may_add" | "may_remove" | "may_rename"} right */
  const may = (right) => isIn && (isAdmin || about.roles[right] === "members");
  return [
    ...(state === "astray" ? rejoining(about) : []),
    ...(about.added_by ? [says(...fill(words.addedBy, { who: bdi(about.added_by) }))] : []),
    part(
      many("people", about.people.length),
      ...about.people.map((name) =>
        member(about, name, { isAdmin, mayRemove: may("may_remove"), showDetails })
      ),
      ...about.wished.map((id) => waiting(id)),
      ...(may("may_add") ? [way([words.addPeople], () => showAdd(about), "add")] : []),
    ),
    ...(may("may_rename") ? [way([words.renameGroup], () => showRename(about), "rename")] : []),
    ...(isIn && isAdmin ? [rights(about)] : []),
  ];
}

/**
 * @param {Details} about
 * @param {string} name
 * @param {{ isAdmin: boolean, mayRemove: boolean, showDetails: (chat: string) => void }} how what
 *   we may do, and what shows a contact
 */
function member(about, name, { isAdmin, mayRemove, showDetails }) {
  const { chat } = about;
  const isSelf = name === store.status?.name;
  const isTheirs = about.admins.includes(name);
  const contact = store.contacts.find((one) => one.name === name);
  /** @type {Item[]} */
  const items = [];
  if (contact) items.push({ label: words.details, act: () => showDetails(contact.chat) });
  if (isAdmin && !isSelf) {
    items.push({
      label: isTheirs ? words.takeAdmin : words.makeAdmin,
      act: () => void act(() => store.ask("admin", { chat, person: name, is_admin: !isTheirs })),
    });
  }
  if (mayRemove && !isSelf) {
    items.push({
      label: words.remove,
      isBad: true,
      act: () =>
        void confirm(
          words.remove,
          fill(words.removeWhat, { who: bdi(name) }),
          words.remove,
          () => store.ask("remove", { chat, person: name }),
        ),
    });
  }
  const more = make("button", {
    type: "button",
    className: "round",
    ariaLabel: `${words.more}: ${name}`,
    "data-key": `member ${name}`,
  }, icon("more"));
  more.onclick = () => menu(more, items);
  return make(
    "div",
    { className: "line" },
    make(
      "span",
      {},
      bdi(name),
      ...(isSelf ? [make("small", {}, ` ${words.youMark}`)] : []),
      ...(contact?.verified
        ? [make("span", { className: "sign" }, icon("shield"), spoken(words.verified))]
        : []),
      ...(isTheirs ? [make("small", { className: "tag" }, words.admin)] : []),
    ),
    ...(items.length ? [more] : []),
  );
}

/** Somebody who was added, and is not in yet. @param {string} id */
function waiting(id) {
  const name = store.contacts.find((one) => one.id === id)?.name ?? id;
  return make(
    "div",
    { className: "line" },
    make("span", {}, bdi(name), make("small", { className: "tag" }, words.notInYet)),
  );
}

/** @param {Details} about */
function showAdd(about) {
  const out = store.contacts.filter((one) =>
    !one.blocked && !about.people.includes(one.name) && !about.wished.includes(one.id)
  );
  const people = picker(out.map(pick), fold);
  const add = async () => {
    const picked = people.picked();
    if (picked.length) await store.ask("add", { chat: about.chat, people: picked });
    goBack();
  };
  show({
    title: words.addPeople,
    build: () =>
      out.length
        ? [people.element, buttons(button(words.add, add, "chief"))]
        : [says(words.nobodyToPick)],
  });
}

/** @param {Details} about */
function showRename({ chat, name }) {
  const box = field(words.groupName, { value: name, autofocus: true });
  show({
    title: words.renameGroup,
    build: () => [
      box.element,
      buttons(
        button(words.rename, async () => {
          await withName(box, (called) => store.ask("rename", { chat, name: called }));
          goBack();
        }, "chief"),
      ),
    ],
  });
}

/** @param {Details} about */
function rights({ chat, roles }) {
  /** @param {string} label @param {"may_add" | "may_remove" | "may_rename"} right */
  const one = (label, right) =>
    choice(
      label,
      roles[right],
      [["admins", words.admins], ["members", words.members]],
      (value) => store.ask("roles", { chat, ...roles, [right]: value }),
    );
  return part(
    words.rights,
    one(words.mayAdd, "may_add"),
    one(words.mayRemove, "may_remove"),
    one(words.mayRename, "may_rename"),
  );
}

/** How to leave it. @param {Details} about */
export function leaving({ chat, state, added_by: by }) {
  if (state !== "active" && state !== "astray") return [];
  return [part(
    words.leave,
    buttons(
      button(
        words.leave,
        () =>
          confirm(words.leave, [words.leaveWhat], words.leave, () => store.ask("leave", { chat })),
        "bad",
      ),
      ...(by
        ? [
          button(words.leaveAndBlock, () =>
            confirm(
              words.leaveAndBlock,
              fill(words.leaveAndBlockWhat, { who: bdi(by) }),
              words.leaveAndBlock,
              () => store.ask("leave", { chat, is_blocked: true }),
            ), "bad"),
        ]
        : []),
    ),
  )];
}

/** @param {Details} about */
function rejoining({ chat, rejoinable }) {
  return rejoinable.map((one) =>
    part(
      words.rejoin,
      says(...fill(words.rejoinBy, { who: bdi(one.helper), signer: bdi(one.signer) })),
      ...differences(one),
      button(
        words.rejoin,
        () =>
          confirm(
            words.rejoin,
            [words.rejoinWhat],
            words.rejoin,
            () => store.ask("rejoin", { chat, helper: one.helper }),
          ),
        "",
        `rejoin ${one.helper}`,
      ),
    )
  );
}

/** @param {Rejoinable} one */
function differences(one) {
  /** @param {string} sentence @param {string[]} who */
  const line = (sentence, who) => who.length ? [says(...fill(sentence, { who: names(who) }))] : [];
  return [
    ...line(words.cameMeanwhile, one.came),
    ...line(words.wentMeanwhile, one.went),
    ...line(words.adminsMeanwhile, one.admins),
    ...line(words.noAdminsMeanwhile, one.no_admins),
    ...(one.name === null ? [] : [says(...fill(words.namedMeanwhile, { name: bdi(one.name) }))]),
  ];
}
