/** The box in which one writes: drafts, answers to a text, and new words for an old one. */

import { inShort } from "./attached.js";
import { find, make } from "./dom.js";
import { Completion } from "./complete.js";
import { EmojiNames } from "./emoji.js";
import { icon } from "./icons.js";
import { Mention } from "./mention.js";
import { fill } from "./phrase.js";
import { isNotes } from "./title.js";
import { fault } from "./faults.js";
import { words } from "./words.js";

/** @import { Line, Message, Summary } from "./line.js" */
/** @typedef {{ text: string, reply: Message | null }} Draft */

/** How long after the last key the draft is kept. */
const DRAFT_MS = 400;
/** How high the box grows, in lines, where the browser does not do it by itself. */
const GROWS_BY_ITSELF = CSS.supports("field-sizing", "content");

export class Composer {
  #line;
  #form = find("form.composer", HTMLFormElement);
  #box = find("form.composer textarea", HTMLTextAreaElement);
  #bar = make("div", { className: "answers-to", hidden: true });
  #why = make("p", { className: "refusal", role: "alert", hidden: true });
  #mention;
  #completion;
  #chat = "";
  #isDirect = false;
  /** @type {Message | null} the text that is answered */
  #reply = null;
  /** @type {{ message: Message, draft: Draft } | null} the text that gets new words */
  #editing = null;
  /** What the client keeps as our draft. */
  #kept = { text: "", reply: "" };
  #timer = 0;
  /** Looks up the message before or after another. */
  neighbour = (
    /** @type {Message | null} */ _from,
    /** @type {number} */ _step,
  ) => /** @type {Message | null} */ (null);
  /** Looks up the last text of our own. */
  lastOwn = () => /** @type {Promise<Message | null>} */ (Promise.resolve(null));
  /** Shows a message. */
  show = (/** @type {string} */ _id) => {};

  /** @param {Line} line */
  constructor(line) {
    this.#line = line;
    this.#mention = new Mention(line);
    this.#completion = new Completion(this.#box, [this.#mention, new EmojiNames(line)]);
    this.#box.placeholder = this.#box.ariaLabel = words.write;
    const send = find("button.send", HTMLButtonElement);
    send.ariaLabel = send.title = words.send;
    send.append(icon("send"));
    this.#form.prepend(this.#why, this.#bar);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#say();
    });
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    this.#box.addEventListener("input", () => this.#changed());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.keep();
    });
  }

  /** Show the draft of a conversation. @param {Summary} summary */
  async open(summary) {
    const { chat, draft, draft_reply_to: id } = summary;
    this.#chat = chat;
    this.#isDirect = summary.is_direct;
    this.#editing = null;
    this.#kept = { text: draft, reply: id };
    this.#set({ text: draft, reply: null });
    this.#explain("");
    this.#completion.close();
    this.#mention.open(this.#isDirect || isNotes(summary) ? "" : chat);
    if (!id) return;
    const found = await this.#line.ask("history", {
      chat,
      where: { at: "around", message: id },
      many: 1,
    }).catch(() => null);
    if (chat === this.#chat && !this.#reply && !this.#editing && found?.messages[0]?.id === id) {
      this.#reply = found.messages[0];
      this.#showBar();
    }
  }

  /** Keep what was being written, and show nothing of it: one leaves. */
  leave() {
    this.keep();
    this.#chat = "";
    this.#editing = null;
    this.#set({ text: "", reply: null });
    this.#explain("");
    this.#completion.close();
  }

  focus() {
    this.#box.focus();
  }

  /** @param {Message | null} message the text to answer, or none */
  reply(message) {
    if (this.#editing) this.#endEdit();
    this.#reply = message;
    this.#showBar();
    this.#keepSoon();
    this.focus();
  }

  /** @param {Message} message the text that gets new words */
  edit(message) {
    const draft = this.#editing?.draft ?? { text: this.#box.value, reply: this.#reply };
    this.#editing = { message, draft };
    this.#set({ text: message.text, reply: null });
    this.focus();
    this.#box.setSelectionRange(message.text.length, message.text.length);
  }

  /** A text is gone: it can be neither answered nor edited. @param {string} id */
  forget(id) {
    if (this.#editing?.message.id === id) this.#endEdit();
    if (this.#reply?.id === id) this.reply(null);
  }

  /** A text has changed, or the name of its sender. @param {Message} message */
  renew(message) {
    if (message.deleted) this.forget(message.id);
    else if (this.#reply?.id === message.id) {
      this.#reply = message;
      this.#showBar();
    }
  }

  /** The people here may be others, or have other names. */
  renewPeople() {
    this.#mention.renew();
  }

  /** Undo one step of what is under way; whether there was one. */
  undo() {
    if (this.#completion.isOpen) this.#completion.close();
    else if (this.#editing) this.#endEdit();
    else if (this.#reply) this.reply(null);
    else return false;
    this.focus();
    return true;
  }

  /** Keep the draft in the vault. */
  keep() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (!this.#chat) return;
    const { text, reply } = this.#editing?.draft ?? { text: this.#box.value, reply: this.#reply };
    const now = { text, reply: text ? reply?.id ?? "" : "" };
    if (now.text === this.#kept.text && now.reply === this.#kept.reply) return;
    this.#kept = now;
    this.#ask("draft", { text: now.text, reply_to: now.reply || null }).catch((why) => {
      this.#kept = { text: "\0", reply: "" }; // whatever the client keeps, it is not this
      this.#explain(fault(why));
    });
  }

  #keepSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.keep(), DRAFT_MS);
  }

  /** @param {string} what @param {Record<string, unknown>} more */
  #ask(what, more) {
    return this.#line.ask(what, { chat: this.#chat, ...more });
  }

  async #say() {
    if (this.#completion.isOpen) this.#completion.close();
    // Spaces alone say nothing; within a text, and as ZWNJ at its end, they are its own.
    if (!this.#box.value.trim() || !this.#chat) return;
    const text = this.#box.value.replace(/^[ \t\r\n]+|[ \t\r\n]+$/gu, "");
    const chat = this.#chat, edited = this.#editing, reply = this.#reply;
    this.#explain("");
    clearTimeout(this.#timer);
    try {
      if (edited) {
        this.#endEdit();
        if (text !== edited.message.text) {
          await this.#ask("edit", { message: edited.message.id, text });
        }
        return;
      }
      this.#set({ text: "", reply: null });
      const said = this.#ask("send", { text, reply_to: reply?.id ?? null });
      this.keep(); // a text that was sent never comes back as a draft
      await said;
    } catch (why) {
      this.#giveBack(chat, { text, reply }, edited?.message ?? null, why);
    }
  }

  /**
   * Take the words that are being written, and the text that they answer, to be said with a file;
   * with a call that gives them back if it is not sent. New words for an old text stay here.
   */
  take() {
    const chat = this.#chat, reply = this.#editing ? null : this.#reply;
    const text = this.#editing ? "" : this.#box.value.trim();
    if (!text && !reply) return { text, reply_to: null, giveBack: () => {} };
    this.#set({ text: "", reply: null });
    this.keep();
    /** @param {unknown} [why] */
    const giveBack = (why) => this.#giveBack(chat, { text, reply }, null, why);
    return { text, reply_to: reply?.id ?? null, giveBack };
  }

  /**
   * A text was refused: nothing that was written is lost.
   * @param {string} chat @param {Draft} draft @param {Message | null} edited @param {unknown} why
   */
  #giveBack(chat, { text, reply }, edited, why) {
    if (chat !== this.#chat) {
      const kept = { chat, text, reply_to: reply?.id ?? null };
      if (!edited) void this.#line.ask("draft", kept).catch(() => {});
      return;
    }
    if (edited) {
      this.edit(edited);
      this.#box.value = text;
      this.#grow();
    } else {
      const since = this.#editing ? "" : this.#box.value;
      if (this.#editing) this.#endEdit();
      this.#set({ text: since ? `${text}\n${since}` : text, reply });
      this.keep();
    }
    this.#explain(why ? fault(why) : "");
  }

  #endEdit() {
    const draft = this.#editing?.draft;
    this.#editing = null;
    if (draft) this.#set(draft);
  }

  /** @param {Draft} draft */
  #set({ text, reply }) {
    this.#box.value = text;
    this.#reply = reply;
    this.#grow();
    this.#showBar();
  }

  /** @param {string} sentence */
  explain(sentence) {
    this.#explain(sentence);
  }

  /** @param {string} sentence */
  #explain(sentence) {
    this.#why.textContent = sentence;
    this.#why.hidden = !sentence;
  }

  #changed() {
    this.#explain("");
    this.#grow();
    void this.#completion.look();
    if (!this.#editing) this.#keepSoon();
  }

  #grow() {
    if (GROWS_BY_ITSELF) return;
    this.#box.style.height = "auto";
    this.#box.style.height = `${this.#box.scrollHeight}px`;
  }

  #showBar() {
    const about = this.#editing?.message ?? this.#reply;
    this.#bar.hidden = !about;
    if (!about) {
      this.#bar.replaceChildren();
      return;
    }
    const title = this.#editing
      ? [words.editing]
      : about.own
      ? [words.answeringOwn]
      : fill(words.answering, { name: make("bdi", {}, about.sender) });
    const quote = make(
      "button",
      { type: "button", className: "quote" },
      make("b", {}, ...title),
      make("span", { dir: "auto" }, (inShort(about) || words.deleted).slice(0, 300)),
    );
    quote.addEventListener("click", () => this.show(about.id));
    const cancel = make("button", {
      type: "button",
      className: "cancel",
      ariaLabel: words.cancel,
      title: words.cancel,
    }, icon("close"));
    cancel.addEventListener("click", () => this.undo());
    this.#bar.replaceChildren(quote, cancel);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.isComposing || this.#completion.key(event)) return;
    const isPlain = !event.shiftKey && !event.altKey && !event.ctrlKey && !event.metaKey;
    const isUp = event.key === "ArrowUp";
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) void this.#say();
    else if (isUp && isPlain && !this.#box.value && !this.#editing) void this.#editLast();
    else if ((isUp || event.key === "ArrowDown") && (event.ctrlKey || event.metaKey)) {
      if (!this.#editing) this.#answerNext(isUp ? -1 : 1);
    } else return;
    event.preventDefault();
  }

  async #editLast() {
    const last = await this.lastOwn();
    if (last && !this.#box.value) this.edit(last);
  }

  /** @param {number} step */
  #answerNext(step) {
    if (!this.#reply && step > 0) return;
    const next = this.neighbour(this.#reply, step);
    if (next) this.show(next.id);
    if (next || step > 0) this.reply(next);
  }
}
