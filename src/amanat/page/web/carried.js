/**
 * The files of the open conversation that are on their way. Those that go up have no message yet:
 * they stand after all messages. Of those that come down, the bubble of the message tells.
 */

import { box, bytes, nameOf, progressOf } from "./attached.js";
import { make } from "./dom.js";
import { fault } from "./faults.js";
import { onTheWay } from "./transfers.js";
import { words } from "./words.js";

/** @import { Line, Transfer } from "./line.js" */
/** @typedef {{ chat: string, kind: string, name: string, size: number, done: number, cancel: () => void }} Going a file that the browser brings to the client */

export class Carried {
  /** The files that go up. */
  element = make("div", { className: "carried" });
  #line;
  #chat = "";
  /** @type {Set<Going>} */
  #going = new Set();
  /** @type {(message: string) => void} */
  #changed;
  #grown;

  /**
   * @param {Line} line
   * @param {(message: string) => void} changed called with the id of a message whose file has got on
   * @param {() => void} grown called when there are more of them
   */
  constructor(line, changed, grown) {
    this.#line = line;
    this.#changed = changed;
    this.#grown = grown;
    line.addEventListener("transfer", (event) => {
      if (event instanceof CustomEvent) this.#take(event.detail);
    });
    this.element.addEventListener("click", ({ target }) => {
      const button = target instanceof Element ? target.closest("button") : null;
      if (button) this.#press(button);
    });
  }

  /** Show those of a conversation. @param {string} chat */
  async open(chat) {
    this.#chat = chat;
    this.#draw();
    if (!chat) return;
    /** @type {Transfer[]} */
    const all = await this.#line.ask("transfers", { chat }).catch(() => []);
    for (const one of all) onTheWay.set(one.transfer, one);
    if (chat !== this.#chat) return;
    this.#draw();
    for (const one of all) if (one.message) this.#changed(one.message);
  }

  /** A file begins to go up. @param {Going} going */
  begin(going) {
    this.#going.add(going);
    this.#draw();
    this.#grown();
  }

  /** It has got on. @param {Going} going */
  renew(going) {
    const progress = this.element.querySelector(`[data-key="${this.#key(going)}"] progress`);
    if (progress instanceof HTMLProgressElement) progress.value = going.done;
  }

  /** It is at the client, or was given up. @param {Going} going */
  end(going) {
    this.#going.delete(going);
    this.#draw();
  }

  /** @param {{ chat: string, number: number, transfer: Transfer | null }} told */
  #take({ chat, number, transfer }) {
    const before = onTheWay.get(number);
    if (transfer) onTheWay.set(number, transfer);
    else onTheWay.delete(number);
    if (chat !== this.#chat) return;
    const one = transfer ?? before;
    if (!one) return;
    const isSame = before && transfer && before.phase === transfer.phase;
    const progress = isSame ? progressOf(number) : null;
    if (progress && transfer) progress.value = transfer.done;
    else if (one.message) this.#changed(one.message);
    else {
      this.#draw();
      if (!before) this.#grown();
    }
  }

  /** @param {Going} going */
  #key(going) {
    return `going ${[...this.#going].indexOf(going)}`;
  }

  #draw() {
    const going = [...this.#going].filter((one) => one.chat === this.#chat).map((one) =>
      bubble(this.#key(one), one, [words.fileTaken], ["cancel"])
    );
    const up = [...onTheWay.values()].filter((one) =>
      one.chat === this.#chat && one.up && !one.message
    ).map((one) => bubble(`transfer ${one.transfer}`, one, said(one), deeds(one)));
    this.element.replaceChildren(...up, ...going);
  }

  /** @param {HTMLButtonElement} button */
  #press(button) {
    const key = button.closest("section")?.dataset.key ?? "", what = button.dataset.deed ?? "";
    const going = [...this.#going].find((one) => this.#key(one) === key);
    if (going) going.cancel();
    else {
      const transfer = Number(key.split(" ")[1]);
      void this.#line.ask("carry", { transfer, what }).catch(() => {});
    }
  }
}

/** @param {Transfer} one */
function said(one) {
  if (one.error) return [fault(new Error(one.error))];
  return [one.phase === "paused" ? words.filePaused : words.fileGoes];
}

/** What one can do with a file on its way. @param {Transfer} one */
function deeds({ phase }) {
  return [phase === "under-way" ? "pause" : "resume", "cancel"];
}

/**
 * @param {string} key @param {{ kind: string, name: string, size: number, done: number, transfer?: number }} one
 * @param {string[]} said @param {string[]} deeds
 */
function bubble(key, one, said, deeds) {
  return make(
    "section",
    { className: "own", "data-key": key, ariaLabel: nameOf(one) },
    box(nameOf(one), [bytes(one.size), ...said], { ...one, transfer: one.transfer ?? -1 }, deeds),
  );
}
