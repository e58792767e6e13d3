/** Before the conversations: making a person, and opening a profile that is locked. */

import { make } from "./dom.js";
import { fault } from "./faults.js";
import { speak } from "./look.js";
import { language, languages, words } from "./words.js";

/** @import { Line } from "./line.js" */

/** The country of the browser's language, which the person can change. */
const COUNTRY = new Intl.Locale(navigator.language).maximize().region ?? "";

export class StartPage extends HTMLElement {
  /** @type {Line | undefined} */
  #line;

  /**
   * Show what has to be done first; nothing, if the profile is open.
   * @param {Line} line
   * @param {{ state: string, opens_with?: string }} found
   */
  show(line, found) {
    this.#line = line;
    this.hidden = found.state === "open";
    document.body.classList.toggle("started", this.hidden);
    if (this.hidden) this.replaceChildren();
    else if (found.state === "new") this.#askForPerson();
    else this.#askForSecret(found.opens_with === "passphrase");
  }

  #askForPerson() {
    const name = field(words.yourName, { autocomplete: "off", maxLength: 100, required: true });
    const first = secret(words.newPassphrase), second = secret(words.again);
    const relay = field(words.relayAddress, { dir: "ltr", placeholder: "amanat://…" });
    const access = field(words.accessCode, { dir: "ltr", autocomplete: "off" });
    const country = field(words.country, {
      dir: "ltr",
      value: COUNTRY,
      maxLength: 2,
      pattern: "[A-Za-z]{2}",
    });
    const proxy = field(words.proxyAddress, { dir: "ltr", placeholder: "127.0.0.1:9050" });
    // A browser would take a third field of type password for a passphrase of its person.
    const login = field(words.proxyLogin, {
      dir: "ltr",
      className: "masked",
      autocomplete: "off",
    });
    const more = make(
      "details",
      {},
      make("summary", {}, words.otherRelay),
      make("p", {}, words.otherRelayHelp),
      relay.label,
      access.label,
      country.label,
      make("p", {}, words.countryHelp),
      proxy.label,
      login.label,
      make("p", {}, words.proxyHelp),
    );
    // A field that does not fit has to be seen, or nothing happens and nobody knows why.
    more.addEventListener("invalid", () => more.setAttribute("open", ""), { capture: true });
    const tongues = make(
      "p",
      { className: "tongues" },
      ...Object.entries(languages).map(([tongue, name]) => {
        const button = make("button", { type: "button", lang: tongue, className: "plain" }, name);
        button.setAttribute("aria-pressed", String(tongue === language));
        button.onclick = () => speak({ language: tongue });
        return button;
      }),
    );
    this.#form(words.welcome, words.welcomeHelp, words.startNow, [
      tongues,
      name.label,
      first.label,
      second.label,
      make("p", {}, words.passphraseHelp),
      more,
    ], async () => {
      if (first.input.value !== second.input.value) throw new Error("differ");
      await this.#line?.ask("create", {
        name: name.input.value,
        passphrase: first.input.value,
        relay: relay.input.value.trim(),
        access: access.input.value.trim(),
        region: country.input.value.toUpperCase() || null,
        proxy: proxy.input.value.trim(),
        login: login.input.value,
      });
      const chosen = new URL(location.href).searchParams.get("language");
      if (chosen) await this.#line?.ask("settings", { values: { language: chosen } });
    });
    name.input.focus();
  }

  /** @param {boolean} hasPassphrase */
  #askForSecret(hasPassphrase) {
    const one = secret(words.passphrase, "current-password");
    this.#form(
      words.locked,
      words.lockedHelp,
      words.open,
      hasPassphrase ? [one.label] : [],
      () => this.#line?.ask("unlock", { passphrase: hasPassphrase ? one.input.value : null }),
    );
    one.input.focus();
  }

  /**
   * @param {string} title @param {string} help @param {string} button @param {Node[]} fields
   * @param {() => Promise<unknown> | undefined} submit
   */
  #form(title, help, button, fields, submit) {
    const trouble = make("p", { className: "failed", role: "alert" });
    const go = make("button", { className: "go" }, button);
    const form = make(
      "form",
      {},
      make("h1", {}, title),
      make("p", {}, help),
      // Password managers look for whose passphrase it is.
      make("input", { autocomplete: "username", hidden: true }),
      ...fields,
      trouble,
      go,
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!(go instanceof HTMLButtonElement) || go.disabled) return;
      go.disabled = true;
      go.textContent = words.oneMoment;
      trouble.textContent = "";
      try {
        await submit(); // the client tells every tab that the profile is open
      } catch (why) {
        trouble.textContent = fault(why);
        go.disabled = false;
        go.textContent = button;
      }
    });
    this.replaceChildren(form);
  }
}

/**
 * @param {string} label @param {Record<string, unknown>} properties
 * @returns {{ label: HTMLElement, input: HTMLInputElement }}
 */
function field(label, properties) {
  const input = /** @type {HTMLInputElement} */ (make("input", { dir: "auto", ...properties }));
  return { label: make("label", {}, label, input), input };
}

/** @param {string} label */
function secret(label, autocomplete = "new-password") {
  return field(label, { type: "password", autocomplete, required: true, dir: "ltr" });
}

customElements.define("start-page", StartPage);
