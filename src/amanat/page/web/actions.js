/** What one can do with messages, and the menu that offers it. */

import { moment } from "./days.js";
import { make } from "./dom.js";
import { how } from "./message.js";
import { fill, form, line as sentence } from "./phrase.js";
import { openMenu } from "./menu.js";
import { ask } from "./question.js";
import { transferOf } from "./transfers.js";
import { number, words } from "./words.js";

/** @import { Line, Message } from "./line.js" */
/** @import { Entry } from "./message.js" */

const EMOJI = ["👍", "❤️", "😂", "😮", "😢", "🙏", "🎉", "🔥"];
/** The most characters of a reaction. */
const MOST_EMOJI = 32;
/** The most messages that one ask deletes. */
const MOST_DELETED = 200;

export class Actions {
  #line;
  /** The conversation that is open. */
  chat = "";
  /** Whether these are our notes to ourselves: nobody else has what is deleted. */
  isNotes = false;
  /** Our own name. */
  me = "";
  reply = (/** @type {Message} */ _message) => {};
  edit = (/** @type {Message} */ _message) => {};
  select = (/** @type {Entry} */ _entry) => {};
  /** Called when messages were deleted. */
  done = () => {};
  /** Says what will come of something. */
  explain = (/** @type {string} */ _sentence) => {};
  /** Says why something was not done. */
  refused = (/** @type {unknown} */ _why) => {};

  /** @param {Line} line */
  constructor(line) {
    this.#line = line;
  }

  /**
   * Offer everything that one can do with a message.
   * @param {Entry} entry @param {{ x: number, y: number }} at
   */
  offer(entry, at) {
    const one = entry.message;
    const isText = !one.deleted;
    const own = one.reactions[this.me];
    /** @type {import("./menu.js").Row[]} */
    const rows = [];
    if (isText) {
      rows.push([
        ...EMOJI.map((emoji) => ({
          label: emoji,
          isChosen: own === emoji,
          act: () => void this.react(one, emoji),
        })),
        { label: "+", name: words.reactOther, act: () => void this.#reactFreely(one) },
      ]);
      rows.push({ label: words.reply, act: () => this.reply(one) });
      rows.push({ label: words.forward, act: () => this.forward([one]) });
      rows.push({ label: words.copy, act: () => void this.copy([one]) });
    }
    if (isText && one.own && !one.file) rows.push({ label: words.edit, act: () => this.edit(one) });
    rows.push({ label: words.select, act: () => this.select(entry) });
    rows.push({ label: words.details, act: () => void this.#details(one) });
    rows.push({
      label: this.isNotes ? words.deleteTexts : words.removeHere,
      isBad: true,
      act: () => void this.#remove([one], "here"),
    });
    if (isText && one.own && !this.isNotes) {
      rows.push({
        label: words.removeEverywhere,
        isBad: true,
        act: () => void this.#remove([one], "everywhere"),
      });
    }
    openMenu(words.menu, rows, at, entry.article);
  }

  /** @param {string} what @param {Record<string, unknown>} more */
  async #do(what, more) {
    try {
      await this.#line.ask(what, { chat: this.chat, ...more });
      return true;
    } catch (why) {
      this.refused(why);
      return false;
    }
  }

  /**
   * React, or take back the same reaction.
   * @param {Message} one @param {string} emoji
   */
  async react(one, emoji) {
    const isSame = one.reactions[this.me] === emoji;
    await this.#do("react", { message: one.id, emoji: isSame ? "" : emoji });
  }

  /** @param {Message} one */
  async #reactFreely(one) {
    const input = /** @type {HTMLInputElement} */ (make("input", {
      maxLength: MOST_EMOJI,
      autocomplete: "off",
      dir: "auto",
      ariaLabel: words.reactOther,
    }));
    const answer = await ask(words.reactOther, [input], [{ value: "yes", label: words.react }]);
    const emoji = input.value.trim();
    if (answer && emoji) await this.#do("react", { message: one.id, emoji });
  }

  /** Do something with the file of a message. @param {Message} message @param {string} what */
  async useFile(message, what) {
    const { id, file, sender } = message;
    if (what === "show") {
      const { view } = await import("./viewer.js");
      view(this.#line, this.chat, message);
      return;
    }
    const transfer = transferOf(id)?.transfer;
    if (what === "save") {
      const { save } = await import("./files.js");
      await save(this.#line, this.chat, id).catch((why) => this.refused(why));
    } else if (what === "again") {
      if (await this.#do("ask again", { message: id })) this.explain(words.fileAsked);
    } else if (what !== "fetch") {
      await this.#line.ask("carry", { transfer, what }).catch((why) => this.refused(why));
    } else if (!file?.relay || await this.#mayGo(file.relay, sender)) {
      await this.#do("fetch", { message: id, relay: file?.relay || null });
    }
  }

  /** Ask before the client goes to a relay that a file names and its sender does not. @param {string} relay @param {string} sender */
  #mayGo(relay, sender) {
    return ask(words.fileFetch, [
      make("p", {}, ...fill(words.fileElsewhere, { name: make("bdi", {}, sender) })),
      make("p", { className: "address", dir: "ltr" }, relay),
    ], [{ value: "yes", label: words.fileFetch }]);
  }

  /** @param {Message[]} all */
  async copy(all) {
    const texts = all.filter((one) => !one.deleted);
    const [first] = texts;
    if (!first) return;
    const text = texts.length === 1
      ? first.text
      : texts.map((one) =>
        `${one.own ? this.me : one.sender}, ${moment(one.sent_at)}:\n${one.text}`
      ).join("\n\n");
    await navigator.clipboard.writeText(text).catch((why) => this.refused(why));
  }

  /** Ask where to, and forward these there; those that were deleted have no words. @param {Message[]} all */
  forward(all) {
    const chat = this.chat, texts = all.filter((one) => !one.deleted);
    void import("./forward.js").then(({ showForward }) => showForward(chat, texts, this.done));
  }

  /** Ask how to delete these, and do it. @param {Message[]} all */
  remove(all) {
    const isOurs = all.every((one) => one.own && !one.deleted);
    return this.#remove(all, isOurs && !this.isNotes ? "either" : "here");
  }

  /** @param {Message[]} all @param {"here" | "everywhere" | "either"} how */
  async #remove(all, how) {
    const many = all.length;
    const title = sentence(form("remove", many), {
      many: number.format(many),
    });
    const isHere = how !== "everywhere", isEverywhere = how !== "here";
    const answer = await ask(
      title,
      [
        ...(isHere
          ? [make("p", {}, this.isNotes ? words.removeNoteMeans : words.removeHereMeans)]
          : []),
        ...(isEverywhere ? [make("p", {}, words.removeEverywhereMeans)] : []),
      ],
      [
        ...(isHere
          ? [{
            value: "here",
            label: this.isNotes ? words.deleteTexts : words.removeHere,
            isBad: true,
          }]
          : []),
        ...(isEverywhere
          ? [{ value: "everywhere", label: words.removeEverywhere, isBad: true }]
          : []),
      ],
    );
    if (!answer) return;
    const ids = all.map((one) => one.id), for_everyone = answer === "everywhere";
    while (ids.length) {
      const messages = ids.splice(0, MOST_DELETED);
      if (!await this.#do("delete", { messages, for_everyone })) return;
    }
    this.done();
  }

  /** @param {Message} one */
  async #details(one) {
    /** @type {[string, string][]} */
    const facts = [
      [words.detailsSender, one.own ? words.you : one.sender],
      [words.detailsSent, moment(one.sent_at)],
      [words.detailsKept, moment(one.kept_at)],
    ];
    if (one.own) facts.push([words.detailsState, how(one)]);
    if (one.expires_at !== null) facts.push([words.detailsExpires, moment(one.expires_at)]);
    const list = make(
      "dl",
      {},
      ...facts.flatMap(([name, value]) => [
        make("dt", {}, name),
        make("dd", {}, make("bdi", {}, value)),
      ]),
    );
    await ask(words.details, [list], [], words.close);
  }
}
