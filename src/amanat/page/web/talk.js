/** The open conversation: its history, the box, and what one can do with its messages. */

import { Actions } from "./actions.js";
import { takeFiles, takePictures, takeVoice } from "./attach.js";
import { Composer } from "./composer.js";
import { find, isCovered } from "./dom.js";
import { Drag } from "./drag.js";
import { history } from "./history.js";
import { iconButton } from "./icons.js";
import { Pointing } from "./pointing.js";
import { fault } from "./faults.js";
import { Seek } from "./seek.js";
import { Selection } from "./selection.js";
import { isNotes } from "./title.js";
import { words } from "./words.js";

/** @import { Line, Message, Summary } from "./line.js" */
/** @import { Missing } from "./store.js" */
/** @typedef {{ name: string, missing: Missing[] }} Status */

export class Talk {
  #composer;
  #actions;
  #selection;
  #seek;
  /** @type {Summary | null} */
  #open = null;
  /** What records, once it was wanted. @type {import("./recording.js").Recorder | undefined} */
  #recorder;
  /** @type {Missing[]} */
  #missing = [];

  /** @param {Line} line */
  constructor(line) {
    const actions = this.#actions = new Actions(line);
    const composer = this.#composer = new Composer(line);
    history.begin(line);
    const selection = this.#selection = new Selection(history, {
      forward: (all) => actions.forward(all),
      copy: (all) => void actions.copy(all),
      remove: (all) => void actions.remove(all),
    });
    new Drag(history, selection);
    new Pointing(history, actions, selection);
    actions.reply = (message) => composer.reply(message);
    actions.edit = (message) => composer.edit(message);
    actions.select = (entry) => selection.toggle(entry, false);
    actions.done = () => selection.end();
    actions.explain = (sentence) => composer.explain(sentence);
    actions.refused = (why) => composer.explain(fault(why));
    takeFiles((files) => void this.#bring(files));
    void takePictures(() => void this.#picture().catch((why) => actions.refused(why)));
    takeVoice(() => void this.#record(line).catch((why) => actions.refused(why)));
    composer.show = (id) => void history.show(id).catch((why) => actions.refused(why));
    composer.neighbour = neighbour;
    composer.lastOwn = lastOwn;
    history.addEventListener("removed", (event) => {
      if (event instanceof CustomEvent) composer.forget(event.detail);
    });
    history.addEventListener("changed", (event) => {
      if (event instanceof CustomEvent) composer.renew(event.detail);
    });
    // Somebody may have taken another name, so we ask again for everything that shows theirs.
    line.addEventListener("people", () => {
      void history.renew();
      composer.renewPeople();
    });
    const seek = this.#seek = new Seek(line, history, {
      leave: () => composer.focus(),
      refused: (why) => actions.refused(why),
      chooseDay: () => void this.#chooseDay(history.lastVisible?.message.sent_at ?? Date.now()),
    });
    const begin = iconButton("search", words.seek, () => seek.begin());
    begin.classList.add("begin-seek");
    find("main > header", HTMLElement).append(begin);
    document.addEventListener("keydown", (event) => {
      if (event.defaultPrevented || isCovered()) return;
      if (this.#open && this.#key(event)) event.preventDefault();
    });
    history.addEventListener("click", ({ target }) => {
      const day = target instanceof Element ? target.closest(".day") : null;
      if (day instanceof HTMLElement) void this.#chooseDay(Number(day.dataset.at));
    });
    history.addEventListener("keydown", (event) => {
      // Who reads and begins to type wants to write.
      const isLetter = event.key.length === 1 && event.key !== " ";
      if (!isLetter || event.ctrlKey || event.altKey || event.metaKey || selection.isOn) return;
      composer.focus();
    });
  }

  /** Have a picture sent here that the camera takes. */
  async #picture() {
    const chat = this.#open?.chat, { takePicture } = await import("./camera.js");
    const picture = await takePicture();
    if (picture && chat === this.#open?.chat) await this.#bring([picture], "picture");
  }

  /**
   * Have these files sent here, one after the other.
   * @param {File[]} files @param {"picture" | ""} [how] without it the person is asked
   */
  async #bring(files, how) {
    const chat = this.#open?.chat;
    if (!chat) return;
    const { bringAll } = await import("./files.js");
    this.#composer.explain("");
    const refused = (/** @type {unknown} */ why) => this.#actions.refused(why);
    await bringAll(chat, files, () => this.#composer.take(), history.carried, refused, how);
  }

  /** Record a voice note. @param {Line} line */
  async #record(line) {
    const { Recorder } = await import("./recording.js"), composer = this.#composer;
    const recorder = this.#recorder ??= new Recorder(line, {
      take: () => composer.take(),
      carried: () => history.carried,
      focus: () => composer.focus(),
      explain: (sentence) => composer.explain(sentence),
      refused: (why) => this.#actions.refused(why),
    });
    recorder.open(this.#open?.chat ?? "");
    await recorder.begin();
  }

  /** Do what a key means in all of the conversation; whether it did. @param {KeyboardEvent} event */
  #key(event) {
    const isControl = event.ctrlKey || event.metaKey;
    const isCopy = event.key === "c" && isControl && getSelection()?.isCollapsed !== false;
    if (event.key === "Escape") return this.undo();
    if (this.#selection.isOn && isCopy) {
      void this.#actions.copy(this.#selection.all());
      this.#selection.end();
    } else if (this.#selection.isOn && event.key === "Delete") {
      void this.#actions.remove(this.#selection.all());
    } else if (event.key === "Enter" && event.altKey) void history.toEnd().catch(() => {});
    // A second time, it is the browser that searches.
    else if (event.key === "f" && isControl && !event.altKey && !this.#seek.isBox(event.target)) {
      this.#seek.begin();
    } else return false;
    return true;
  }

  /** What the client says of itself. @param {Status} status */
  status({ name, missing }) {
    history.setMe(name);
    this.#actions.me = name;
    this.#missing = missing;
    this.#showMissing();
  }

  /** Show a conversation. @param {Summary} summary */
  async open(summary) {
    if (this.#open?.chat === summary.chat) {
      this.#composer.focus(); // it is open, with what is being written
      return;
    }
    this.#composer.leave();
    this.#selection.end();
    this.#open = summary;
    this.#recorder?.open(summary.chat);
    this.#seek.open(summary.chat);
    this.#actions.chat = summary.chat;
    this.#actions.isNotes = isNotes(summary);
    history.classList.toggle("is-direct", summary.is_direct);
    void this.#composer.open(summary);
    this.#showMissing();
    const held = document.activeElement;
    // Without a line it is asked for again when there is one.
    await history.open(summary.chat, summary.unread > 0).catch(() => {});
    // A finger asks for the keyboard by itself, and whoever has gone on to write somewhere else
    // goes on there.
    const at = document.activeElement;
    const isHere = at === held || at === document.body; // a row that moves loses the focus
    if (isHere && matchMedia("(pointer: fine)").matches) this.#composer.focus();
  }

  /** Show a message of the open conversation. @param {string} id */
  async show(id) {
    await history.show(id).catch((why) => this.#actions.refused(why));
  }

  /** Show the same again, after the line was gone. */
  async reload() {
    if (this.#open) await history.reload().catch(() => {});
  }

  close() {
    this.#composer.leave();
    this.#selection.end();
    history.leave();
    this.#seek.open("");
    this.#recorder?.open("");
    this.#open = null;
  }

  /** Undo one step of what is under way; whether there was one. */
  undo() {
    if (this.#selection.isOn) {
      this.#selection.end();
      return true;
    }
    if (!this.#open) return false;
    if (this.#composer.undo()) return true;
    if (this.#seek.isOn) {
      this.#seek.end();
      return true;
    }
    if (!history.contains(document.activeElement)) return false;
    this.#composer.focus(); // from the messages back to the box
    return true;
  }

  /** Let the person choose a day, and go there. @param {number} at a time of the day to begin with */
  async #chooseDay(at) {
    const refused = (/** @type {unknown} */ why) => this.#actions.refused(why);
    try {
      const [{ showDays }, begins] = await Promise.all([import("./calendar.js"), history.begins()]);
      showDays(at, begins, (since) => void history.toDay(since).catch(refused));
    } catch (why) {
      refused(why);
    }
  }

  /** Messages that exist and are not here. */
  #showMissing() {
    const open = this.#open;
    history.setMissing(this.#missing.filter((one) => open && one.chat === open.chat));
  }
}

/**
 * The text before or after another; before none is the last one on the screen.
 * @param {Message | null} from @param {number} step
 */
function neighbour(from, step) {
  const texts = history.entries.map((one) => one.message).filter((one) => !one.deleted);
  if (!from) return texts.at(-1) ?? null;
  const at = texts.findIndex((one) => one.id === from.id);
  return texts[at + step] ?? (step < 0 ? from : null);
}

/** The last text of our own. */
async function lastOwn() {
  await history.toEnd().catch(() => {});
  return history.entries.findLast(({ message }) => message.own && !message.deleted && !message.file)
    ?.message ??
    null;
}
