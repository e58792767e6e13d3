/** Before the conversations: making a person, and opening a profile that is locked. */

import { find, make } from "./dom.js";
import { fault } from "./faults.js";
import { speak } from "./look.js";
import { field, hint, secret, toggle } from "./parts.js";
import { language, languages, words } from "./words.js";

/** @import { Line } from "./line.js" */

const place = find("start-page", HTMLElement);
/** The country of the browser's language, which the person can change. */
const COUNTRY = new Intl.Locale(navigator.language).maximize().region ?? "";

/**
 * Show what has to be done first.
 * @param {Line} line
 * @param {{ state: string, opens_with?: string }} found
 */
export function showStart(line, found) {
  if (found.state === "new") askForPerson(line);
  else askForSecret(line, found.opens_with === "passphrase");
}

/** @param {Line} line */
function askForPerson(line) {
  const name = field(words.yourName, { maxLength: 100, required: true });
  const opened = opener();
  const restore = make("button", { type: "button", className: "plain" }, words.restore);
  restore.onclick = () =>
    void import("./restoring.js").then(({ showRestoring }) => showRestoring(line));
  const relay = field(words.relayAddress, { dir: "ltr", placeholder: "amanat://…" });
  const access = field(words.accessCode, { dir: "ltr" });
  const country = field(words.country, {
    dir: "ltr",
    value: COUNTRY,
    maxLength: 2,
    pattern: "[A-Za-z]{2}",
  });
  const proxy = field(words.proxyAddress, { dir: "ltr", placeholder: "127.0.0.1:9050" });
  // A browser would take a third field of type password for a passphrase of its person.
  const login = field(words.proxyLogin, { dir: "ltr", className: "masked" });
  const more = make(
    "details",
    {},
    make("summary", {}, words.otherRelay),
    hint(words.otherRelayHelp),
    relay.element,
    access.element,
    country.element,
    hint(words.countryHelp),
    proxy.element,
    login.element,
    hint(words.proxyHelp),
  );
  // A field that does not fit has to be seen, or nothing happens and nobody knows why.
  more.addEventListener("invalid", () => more.setAttribute("open", ""), { capture: true });
  form(words.welcome, words.welcomeHelp, words.startNow, [
    tongues(),
    name.element,
    ...opened.elements,
    more,
    restore,
  ], async () => {
    await opened.use((passphrase) =>
      line.ask("create", {
        name: name.input.value,
        passphrase,
        relay: relay.input.value.trim(),
        access: access.input.value.trim(),
        region: country.input.value.toUpperCase() || null,
        proxy: proxy.input.value.trim(),
        login: login.input.value,
      })
    );
    const chosen = new URL(location.href).searchParams.get("language");
    if (chosen) await line.ask("settings", { values: { language: chosen } });
  });
  name.input.focus();
}

/** What opens a new profile: a passphrase, typed twice, or the system's keyring. */
export function opener() {
  const first = secret(words.newPassphrase, { required: true });
  const second = secret(words.again, { required: true });
  const help = hint(words.passphraseHelp);
  let isWithKeyring = false;
  const keyring = toggle([words.withKeyring], false, (is) => {
    isWithKeyring = is;
    for (const one of [first, second]) {
      one.element.hidden = is;
      one.input.required = !is;
    }
    help.textContent = is ? words.keyringHelp : words.passphraseHelp;
    return Promise.resolve();
  }, "keyring");
  return {
    elements: [first.element, second.element, help, keyring],
    /**
     * Do something with the passphrase; null stands for the keyring.
     * @param {(passphrase: string | null) => Promise<unknown>} deed
     */
    use: async (deed) => {
      if (!isWithKeyring && first.input.value !== second.input.value) throw new Error("differ");
      await deed(isWithKeyring ? null : first.input.value).catch((why) => {
        throw isWithKeyring && why.message === "bad-argument" ? new Error("no-keyring") : why;
      });
    },
  };
}

/** The languages, by what they call themselves. */
function tongues() {
  return make(
    "p",
    { className: "tongues" },
    ...Object.entries(languages).map(([tongue, name]) => {
      const button = make("button", { type: "button", lang: tongue, className: "plain" }, name);
      button.setAttribute("aria-pressed", String(tongue === language));
      button.onclick = () => speak({ language: tongue });
      return button;
    }),
  );
}

/** @param {Line} line @param {boolean} hasPassphrase */
function askForSecret(line, hasPassphrase) {
  const one = secret(words.passphrase, { autocomplete: "current-password", required: true });
  form(
    words.locked,
    words.lockedHelp,
    words.open,
    hasPassphrase ? [one.element] : [],
    () => line.ask("unlock", { passphrase: hasPassphrase ? one.input.value : null }),
  );
  one.input.focus();
}

/**
 * @param {string} title @param {string} help @param {string} button @param {Node[]} fields
 * @param {() => Promise<unknown>} submit
 */
export function form(title, help, button, fields, submit) {
  const trouble = make("p", { className: "failed", role: "alert" });
  const go = /** @type {HTMLButtonElement} */ (make("button", { className: "go" }, button));
  const made = make(
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
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (go.disabled) return;
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
  place.replaceChildren(made);
}
