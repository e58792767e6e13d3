/** Links in texts. One opens only after its true address was shown; nothing of it is fetched. */

import { make } from "./dom.js";
import { ask } from "./question.js";
import { words } from "./words.js";

/** Somebody's invite, in whatever was pasted. */
export const INVITE = /amanat-invite:\S+/u;
/** Controls of direction end a link: an address cannot show itself in another order. */
const LINK = /\bhttps?:\/\/[^\s<>"'\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]+/gu;
/** What ends a sentence does not belong to a link. */
const TAIL = /[.,;:!?،؛؟»)\]]+$/u;
const SCRIPTS = ["Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Armenian", "Han"].map((one) =>
  new RegExp(`\\p{Script=${one}}`, "u")
);

/** The links in a text, as they were written, and where each begins. @param {string} text */
export function linksIn(text) {
  return [...text.matchAll(LINK)].map(({ 0: all, index }) => ({
    link: all.replace(TAIL, ""),
    index,
  }));
}

/**
 * A text in pieces: words, and links as they were written.
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function pieces(text) {
  const found = [];
  let from = 0;
  for (const { link, index } of linksIn(text)) {
    found.push(
      text.slice(from, index),
      make("a", { role: "link", className: "url", tabIndex: -1, dir: "ltr" }, link),
    );
    from = index + link.length;
  }
  return [...found, text.slice(from)];
}

/**
 * What a link is: its true address, and what is wrong with how it looks.
 * @param {string} link
 */
function examine(link) {
  const url = new URL(link);
  const written = link.replace(/^https?:\/\//u, "").split(/[/?#]/u)[0]?.split("@").at(-1) ?? "";
  return {
    href: url.href,
    isMixed: written.split(".").some((part) => SCRIPTS.filter((one) => one.test(part)).length > 1),
    isOther: !url.host.startsWith(written.replace(/:\d*$/u, "").toLowerCase()),
    hasName: url.username !== "" || url.password !== "",
  };
}

/** @param {string} link as it was written */
export async function follow(link) {
  if (!URL.canParse(link)) return;
  const { href, isMixed, isOther, hasName } = examine(link);
  const answer = await ask(
    words.linkTitle,
    [
      make("p", {}, words.linkAddress),
      make("p", { className: "address", dir: "ltr" }, href),
      ...(isMixed ? [make("p", { className: "caution" }, words.linkMixed)] : []),
      ...(isOther && !isMixed ? [make("p", { className: "caution" }, words.linkOther)] : []),
      ...(hasName ? [make("p", { className: "caution" }, words.linkName)] : []),
    ],
    [{ value: "open", label: words.linkOpen }, { value: "copy", label: words.linkCopy }],
  );
  if (answer === "open") globalThis.open(href, "_blank", "noopener,noreferrer");
  if (answer === "copy") await navigator.clipboard.writeText(href);
}
