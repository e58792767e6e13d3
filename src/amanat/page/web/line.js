/** The line to the client: asks that are answered, and what is told. */

const AGAIN_MS = 1000;
/** A text of the longest kind and what stands around it. Only a picture may be longer. */
const MOST_BYTES = 64 * 1024;
const bytes = new TextEncoder();

/**
 * @typedef {{ chat: string, message: Message }} MessageTold
 * @typedef {{ id: string, sender: string, text: string }} Quote
 * @typedef {{
 *   id: string, row: number, position: string, sender: string, own: boolean, text: string,
 *   quote: Quote | null, edited: boolean, forwarded: boolean, deleted: boolean, reactions: Record<string, string>,
 *   sent_at: number, kept_at: number, expires_at: number | null, state: string,
 *   read_by: string[], read_of: number, file: FileShown | null,
 * }} Message
 * @typedef {{
 *   name: string, kind: string, album: string, size: number, sides: [number, number] | null, seconds: number, waveform: string, played: boolean, region: string, until: string | null, here: boolean, outline: boolean, relay: string, hint: string,
 * }} FileShown the file of a message; `relay` is empty unless it is none of its sender's
 * @typedef {{
 *   chat: string, transfer: number, message: string, up: boolean, kind: string, name: string, size: number, done: number,
 *   phase: string, error: string, tries: number, outline: boolean,
 * }} Transfer a file on its way; with `outline`, no more of it than its preview, by itself
 * @typedef {{
 *   chat: string, name: string, is_direct: boolean, last: Message | null, unread: number,
 *   state: string, is_verified: boolean, is_blocked: boolean, draft: string, draft_reply_to: string,
 *   pinned_at: number | null, muted_until: number | null, is_archived: boolean,
 * }} Summary
 * @typedef {{ messages: Message[], before: number, total: number, unread: string,
 *   newest: number, unread_rows: number[] }} Stretch
 */

export class Line extends EventTarget {
  /** @type {WebSocket} */
  #socket;
  /** @type {Map<number, { resolve: (value: any) => void, reject: (why: Error) => void }>} */
  #asked = new Map();
  #next = 1;
  /** @type {Event[] | undefined} what was told since the last ask of all */
  #held;
  #isOver = false;

  constructor() {
    super();
    this.#socket = this.#connect();
  }

  #connect() {
    const socket = new WebSocket(new URL("live", location.href));
    socket.addEventListener("open", () => this.dispatchEvent(new Event("open")));
    socket.addEventListener("close", () => {
      for (const { reject } of this.#asked.values()) reject(new Error("gone"));
      this.#asked.clear();
      if (this.#isOver) return;
      this.dispatchEvent(new Event("away")); // "gone" is what the client tells of a message
      setTimeout(() => (this.#socket = this.#connect()), AGAIN_MS);
    });
    socket.addEventListener("message", ({ data }) => this.#take(JSON.parse(data)));
    return socket;
  }

  /** @param {any} said */
  #take(said) {
    if ("on" in said) {
      const told = new CustomEvent(said.on, { detail: said });
      if (this.#held) this.#held.push(told);
      else this.dispatchEvent(told);
      return;
    }
    const asked = this.#asked.get(said.id);
    this.#asked.delete(said.id);
    if ("error" in said) asked?.reject(new Error(said.error, { cause: said.detail }));
    else asked?.resolve(said.ok);
  }

  /**
   * Ask for something after which there is nothing more to say. What is told meanwhile is heard
   * only if it fails.
   * @param {string} what
   * @param {Record<string, unknown>} more
   */
  async last(what, more) {
    /** @type {Event[]} */
    const held = this.#held = [];
    try {
      await this.ask(what, more);
    } catch (error) {
      this.#held = undefined;
      for (const told of held) this.dispatchEvent(told);
      throw error;
    }
    this.#isOver = true;
    this.#socket.close();
  }

  /**
   * Ask the client, and return its answer. Fails with the code of an error, whose cause says what
   * the error is about, or with "gone".
   * @param {string} what
   * @param {Record<string, unknown>} [more]
   * @returns {Promise<any>}
   */
  ask(what, more = {}) {
    return new Promise((resolve, reject) => {
      if (this.#socket.readyState !== WebSocket.OPEN) {
        reject(new Error("gone"));
        return;
      }
      const id = this.#next++;
      const frame = JSON.stringify({ do: what, id, ...more });
      if (what !== "read picture" && bytes.encode(frame).length > MOST_BYTES) {
        reject(new Error("message-too-large"));
        return;
      }
      this.#asked.set(id, { resolve, reject });
      this.#socket.send(frame);
    });
  }
}
