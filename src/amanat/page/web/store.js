/** What the page knows outside conversations: whole records, as the client told them last. */

/** @import { Line, Summary } from "./line.js" */

/**
 * @typedef {{ name: string, id: string, verified: boolean, blocked: boolean, chat: string }} Contact
 * @typedef {{ id: string, name: string, by: string, asked_at: number, expires_at: number }} Offer
 * @typedef {{
 *   id: string, name: string, greeting: string, blocked: boolean, knocked_at: number,
 *   expires_at: number,
 * }} Visitor
 * @typedef {{
 *   at: number, code: string, detail: string, conversation: string, whom: string, many: number,
 * }} Warning
 * @typedef {{
 *   relay: string, to: string, region: string, on: string, decide_by: string, reason: string,
 *   is_allowed: boolean,
 * }} Move
 * @typedef {{ up_bytes: number, down_bytes: number, usual_s: number, longest_s: number }} Cost
 * @typedef {{
 *   chat: string, conversation: string, sender: string, many: number, who: string, upto: number,
 * }} Missing `who` sent them, after the message `upto`
 * @typedef {{
 *   name: string, identity: string, relay: string, place: string, region: string,
 *   operator: string, fallback: string, fallback_region: string, fallback_operator: string,
 *   allowed_regions: string[] | null, outbound: string, outbound_by: string, moves: Move[],
 *   is_strict: boolean, former: { relay: string, region: string, is_away: boolean }[],
 *   unaware: string[], to_tell: number, left_behind: string[], lost_invites: number[], lost_knocks: string[],
 *   away: string[], transport: "direct" | "hopped" | "covered", hop: string, is_hop_away: boolean,
 *   why: string, period: number, exposed: string[], proxy: string, is_proxy_away: boolean, is_replaced: boolean,
 *   missing: Missing[], outbox: number, backups: Backups,
 *   warnings: Warning[], cost: Cost,
 * }} Status
 * @typedef {{
 *   contacts: Contact[], offers: Offer[], adds: string, visitors: Visitor[], knocks: string,
 *   read_marks: boolean,
 * }} People
 */

/**
 * @typedef {{
 *   folder: string, is_noted: boolean, is_asked: boolean, is_late: boolean, last_at: number,
 *   file: string, bytes: number, messages: number, due_at: number, error: string,
 *   forget_days: number,
 * }} Backups
 * @typedef {{ phase: string, percent: number }} UnderWay
 */

class Store extends EventTarget {
  /** @type {Status | undefined} */
  status;
  /** @type {Contact[]} */
  contacts = [];
  /** @type {Offer[]} */
  offers = [];
  adds = "join";
  /** @type {Visitor[]} */
  visitors = [];
  knocks = "let-in";
  /** Whether the others learn what we have read, and we what they have. */
  read_marks = true;
  /** @type {UnderWay | null} how far a backup or a restore has got, if one is under way */
  backup = null;
  version = "";
  /** What opens the profile: "passphrase", "keyring" or "key". */
  opensWith = "";
  /** @type {Record<string, string>} */
  settings = {};
  /** @type {Map<string, Summary>} */
  chats = new Map();
  /** @type {Line | undefined} */
  #line;

  /** @param {Line} line */
  begin(line) {
    this.#line = line;
    line.addEventListener("status", (event) => {
      if (event instanceof CustomEvent) this.#keepStatus(event.detail.status);
    });
    line.addEventListener("people", (event) => {
      if (event instanceof CustomEvent) this.#keepPeople(event.detail);
    });
    line.addEventListener("settings", (event) => {
      if (event instanceof CustomEvent) this.#keepSettings(event.detail);
    });
    line.addEventListener("import", (event) => {
      if (event instanceof CustomEvent) {
        this.dispatchEvent(new CustomEvent("import", { detail: event.detail.under_way }));
      }
    });
    line.addEventListener("backup", (event) => {
      if (!(event instanceof CustomEvent)) return;
      this.backup = event.detail.under_way;
      this.dispatchEvent(new Event("backup"));
    });
    line.addEventListener("unlocking", (event) => {
      if (!(event instanceof CustomEvent)) return;
      this.opensWith = event.detail.opens_with;
      this.dispatchEvent(new Event("settings"));
    });
    line.addEventListener("summary", (event) => {
      if (event instanceof CustomEvent) this.#keepChats([event.detail.summary]);
    });
    line.addEventListener("gone", (event) => {
      if (event instanceof CustomEvent && event.detail.row === undefined) {
        this.#dropChat(event.detail.chat);
      }
    });
  }

  /** @param {any} all what the client answers to `begin` */
  keep(all) {
    this.settings = all.settings;
    this.version = all.version;
    this.backup = all.backup;
    this.opensWith = all.opens_with;
    this.chats.clear();
    this.#keepChats(all.chats);
    this.#keepPeople(all);
    this.#keepStatus(all.status);
    this.dispatchEvent(new Event("settings"));
  }

  /** Keep nothing of what the client has said: the profile is locked. */
  forget() {
    Object.assign(this, {
      status: undefined,
      backup: null,
      contacts: [],
      offers: [],
      visitors: [],
      settings: {},
    });
    this.chats.clear();
    for (const one of ["status", "people", "chats", "settings"]) this.dispatchEvent(new Event(one));
  }

  /**
   * Ask the client, and keep what it answers of people and status.
   * @param {string} what
   * @param {Record<string, unknown>} [more]
   * @returns {Promise<any>}
   */
  async ask(what, more) {
    if (!this.#line) throw new Error("gone");
    const answer = await this.#line.ask(what, more);
    if (answer?.status) this.#keepStatus(answer.status);
    if (answer?.offers) this.#keepPeople(answer);
    return answer;
  }

  /** Destroy everything, if this is the person's name. @param {string} name */
  async wipe(name) {
    if (!this.#line) throw new Error("gone");
    await this.#line.last("wipe", { name });
    this.forget();
  }

  /** @param {Record<string, string>} changed empty values are those that nothing was set for */
  async set(changed) {
    const all = Object.entries({ ...this.settings, ...changed }).filter(([, value]) => value);
    const answer = await this.ask("settings", { values: Object.fromEntries(all) });
    this.#keepSettings(answer);
  }

  /**
   * Show a conversation, around one of its messages if that is named; one that has just begun,
   * once its line is there.
   * @param {string} chat
   * @param {string} [message]
   */
  open(chat, message) {
    if (!this.chats.has(chat)) {
      const come = (/** @type {Event} */ event) => {
        if (!(event instanceof CustomEvent) || event.detail !== chat) return;
        this.removeEventListener("chat", come);
        setTimeout(() => this.open(chat, message)); // the list has its line then, too
      };
      this.addEventListener("chat", come);
      return;
    }
    this.dispatchEvent(new CustomEvent("open", { detail: { chat, message } }));
  }

  /** @param {Status} status */
  #keepStatus(status) {
    const isSame = JSON.stringify(status) === JSON.stringify(this.status);
    this.status = status;
    if (!isSame) this.dispatchEvent(new Event("status"));
  }

  /** @param {{ settings: Record<string, string> }} told */
  #keepSettings({ settings }) {
    this.settings = settings;
    this.dispatchEvent(new Event("settings"));
  }

  /** @param {People} told */
  #keepPeople({ contacts, offers, adds, visitors, knocks, read_marks }) {
    Object.assign(this, { contacts, offers, adds, visitors, knocks, read_marks });
    this.dispatchEvent(new Event("people"));
  }

  /** A conversation is no longer listed. @param {string} chat */
  #dropChat(chat) {
    if (!this.chats.delete(chat)) return;
    this.dispatchEvent(new CustomEvent("drop", { detail: chat }));
    this.dispatchEvent(new Event("chats"));
  }

  /** @param {Summary[]} told */
  #keepChats(told) {
    for (const one of told) {
      this.chats.set(one.chat, one);
      this.dispatchEvent(new CustomEvent("chat", { detail: one.chat }));
    }
    this.dispatchEvent(new Event("chats"));
  }
}

export const store = new Store();
