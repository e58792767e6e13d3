/** The recovery phrase: shown once, and asked back. The page keeps no word of it. */

import { make } from "./dom.js";
import { fault } from "./faults.js";
import { more } from "./more.js";
import { button, buttons, field, says } from "./parts.js";
import { line } from "./phrase.js";
import { ask } from "./question.js";
import { goBack, show } from "./sheet.js";
import { store } from "./store.js";
import { number, words } from "./words.js";

/** @typedef {{ word: string, number: number }} Word */

/** A word of a phrase is not corrected, and no service of the browser sees it. */
export const TYPED = { dir: "ltr", autocapitalize: "none", spellcheck: false, maxLength: 40 };
const plain = new Intl.NumberFormat(words.locale, { useGrouping: false });

/**
 * Have backups made in a folder, and show the phrase if it is new. Somebody who has stopped them
 * and has shown that they have the phrase keeps it.
 * @param {string} folder
 */
export async function begin(folder) {
  const about = store.status?.backups;
  const isNew = !about?.folder && !about?.is_noted;
  if (!isNew || await isReady([])) await have({ folder, new_phrase: isNew });
}

async function renew() {
  const folder = store.status?.backups.folder;
  if (folder && await isReady([says(more.phraseNewWhat)])) {
    goBack();
    await have({ folder, new_phrase: true });
  }
}

/** Whether the person has pen and paper. @param {Node[]} first what is said before */
async function isReady(first) {
  const said = [...first, says(more.phraseComesWhat)];
  return await ask(more.phraseComes, said, [{ value: "yes", label: more.phraseShow }]) === "yes";
}

/** @param {{ folder: string, new_phrase: boolean }} what */
async function have(what) {
  const { words } = await store.ask("begin backups", what);
  if (words.length) showPhrase(words);
}

/**
 * Show the words for as long as this page of the sheet is there, and the tab is.
 * @param {Word[]} shown
 */
function showPhrase(shown) {
  const list = make("ol", { className: "phrase" });
  const hidden = make("p", { role: "status" }, more.phraseHidden);
  const again = button(more.phraseShow, () => Promise.resolve(draw(true)));
  /** @param {boolean} isShown */
  const draw = (isShown) => {
    list.replaceChildren(...(isShown ? shown.map(cell) : []));
    hidden.hidden = again.hidden = isShown;
  };
  draw(true);
  const hide = () => document.visibilityState === "hidden" && draw(false);
  document.addEventListener("visibilitychange", hide);
  show({
    title: more.phrase,
    build: () => [
      make("p", { className: "notice" }, more.phraseWhat),
      list,
      hidden,
      buttons(
        again,
        button(more.phraseWritten, () => {
          goBack();
          return Promise.resolve(showAsked());
        }, "chief"),
      ),
    ],
    end: () => {
      document.removeEventListener("visibilitychange", hide);
      shown = [];
      list.replaceChildren();
    },
  });
}

/** @param {Word} one @param {number} place from 0 on */
function cell({ word, number: at }, place) {
  return make(
    "li",
    {},
    make("span", {}, number.format(place + 1)),
    make("bdi", { lang: "en" }, word),
    make("small", {}, plain.format(at)),
  );
}

export function showAsked() {
  show({
    title: more.phrase,
    build: async () => {
      /** @type {{ places: number[] }} */
      const { places } = await store.ask("asked words");
      const fields = places.map((place, i) =>
        field(line(more.phraseWord, { n: number.format(place) }), { ...TYPED, autofocus: !i })
      );
      const give = async () => {
        const given = Object.fromEntries(
          places.map((place, i) => [place, fields[i]?.input.value.trim() ?? ""]),
        );
        try {
          await store.ask("give words", { given });
        } catch (error) {
          const [at] = /\d+/u.exec(error instanceof Error ? String(error.cause) : "") ?? [];
          fields[places.indexOf(Number(at))]?.refuse(fault(error));
          throw error;
        }
        goBack();
        showNoted();
      };
      return [
        says(more.phraseAsk),
        ...fields.map(({ element }) => element),
        buttons(button(more.phraseGiven, give, "chief"), button(more.phraseNew, renew)),
      ];
    },
  });
}

function showNoted() {
  show({
    title: more.phrase,
    build: () => [
      make("p", { role: "status" }, more.phraseNoted),
      buttons(button(words.done, () => Promise.resolve(goBack()), "chief")),
    ],
  });
}
