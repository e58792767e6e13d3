/** How the page speaks, looks and behaves; what the vault's health is; and what is kept where. */

import { backups } from "./backups.js";
import { make } from "./dom.js";
import { showKeeping } from "./keeping.js";
import { showImports } from "./imports.js";
import { speak } from "./look.js";
import { more } from "./more.js";
import { button, buttons, choice, hint, part, says, way } from "./parts.js";
import { showPassphrase } from "./secret.js";
import { leave, show } from "./sheet.js";
import { store } from "./store.js";
import { showWipe } from "./wipe.js";
import { languages, number, words } from "./words.js";

/** @type {[string, string][]} */
const LANGUAGES = Object.entries(languages);
const IDLE_MINUTES = [0, 5, 15, 60];

export function showSettings() {
  show({
    title: words.settings,
    on: ["settings", "people", "status"],
    build: () => [
      part(
        words.languagePart,
        spoken(words.language, "language", [
          ["", words.asBrowser],
          ...LANGUAGES,
        ]),
        spoken(words.digits, "digits", [["", words.asLanguage], ["arabext", "۰۱۲۳"], [
          "latn",
          "0123",
        ]]),
        spoken(words.calendar, "calendar", [["", words.asLanguage], ["persian", words.persian], [
          "gregory",
          words.gregorian,
        ]]),
      ),
      part(
        words.looks,
        kept(words.theme, "theme", [["", words.asSystem], ["light", words.light], [
          "dark",
          words.dark,
        ]]),
      ),
      part(
        words.writing,
        kept(words.enterKey, "enter", [["", words.enterSends], ["break", words.enterBreaks]]),
      ),
      part(
        words.notifications,
        choice(
          words.notifications,
          store.settings.notify ?? "",
          [["", words.notifyOff], ["plain", words.notifyPlain], ["named", words.notifyNamed]],
          notify,
          { isTitled: true },
        ),
        hint(words.notifyHint),
      ),
      part(
        words.people,
        choice(
          words.knocksLabel,
          store.knocks,
          [["let-in", words.knocksLetIn], ["ask", words.knocksAsk]],
          (knocks) => store.ask("knocks", { knocks }),
        ),
        choice(
          words.addsLabel,
          store.adds,
          [["join", words.addsJoin], ["ask", words.addsAsk]],
          (adds) => store.ask("adds", { adds }),
        ),
      ),
      part(
        words.readMarks,
        choice(
          words.readMarks,
          store.read_marks ? "tell" : "",
          [["tell", words.readMarksTold], ["", words.readMarksKept]],
          (marks) => store.ask("read marks", { are_told: marks === "tell" }),
          { isTitled: true },
        ),
        hint(words.readMarksHint),
      ),
      part(
        words.lock,
        kept(
          words.lockIdle,
          "idle",
          IDLE_MINUTES.map((one) => [
            one ? String(one) : "",
            one ? words.minutesIdle.replace("{n}", number.format(one)) : words.never,
          ]),
        ),
        buttons(button(words.lockNow, async () => {
          await store.ask("lock");
          leave();
        })),
        hint(words.lockHint),
        // A key of a program's own is that program's to change.
        ...(store.opensWith === "key"
          ? []
          : [way([words.changePassphrase], showPassphrase, "passphrase")]),
      ),
      backups(),
      part(
        words.thisProgram,
        way([more.imports], showImports, "imports"),
        way([words.files], showKeeping, "files"),
        way([words.health], showHealth, "health"),
        way([words.about], showAbout, "about"),
        way([words.wipe], showWipe, "wipe"),
      ),
    ],
  });
}

/** @param {string} label @param {string} name @param {[string, string][]} options */
function kept(label, name, options) {
  return choice(
    label,
    store.settings[name] ?? "",
    options,
    (value) => store.set({ [name]: value }),
  );
}

/** @param {string} label @param {string} name @param {[string, string][]} options */
function spoken(label, name, options) {
  return choice(label, store.settings[name] ?? "", options, async (value) => {
    await store.set({ [name]: value });
    speak(store.settings);
  });
}

/** @param {string} how */
async function notify(how) {
  const asked = "Notification" in globalThis ? Notification.requestPermission() : "denied";
  if (how && await asked !== "granted") {
    await store.set({ notify: "" });
    throw new Error("no-notifications");
  }
  await store.set({ notify: how });
}

function showHealth() {
  show({
    title: words.health,
    build: async () => {
      const { damage } = await store.ask("health");
      return damage
        ? [make("p", { className: "notice" }, words.damaged), hint(make("bdi", {}, damage))]
        : [says(words.healthy)];
    },
  });
}

function showAbout() {
  show({
    title: words.about,
    build: () => [
      says(make("strong", {}, "Amanat")),
      ...(store.version ? [says(words.version, " ", make("bdi", {}, store.version))] : []),
      part(words.keptWhere, says(words.keptVault), says(words.keptRelay), says(words.keptBrowser)),
    ],
  });
}
