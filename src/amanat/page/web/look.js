/** How the page speaks and looks, as the person has set it. The vault keeps the settings. */

/** The settings that stand in the address while the page is there (`words.js` reads them). */
const SPOKEN = ["language", "digits", "calendar"];

/**
 * Speak as the settings say. Whether the page is loaded again for that: its words stand everywhere.
 * @param {Record<string, string>} settings
 */
export function speak(settings) {
  const here = new URL(location.href);
  const before = here.searchParams.toString();
  for (const one of SPOKEN) {
    if (settings[one]) here.searchParams.set(one, settings[one]);
    else here.searchParams.delete(one);
  }
  if (here.searchParams.toString() === before) return false;
  location.replace(here);
  return true;
}

/**
 * Look as the settings say. The dark colours stand once in the style sheet, under the condition
 * that the system is dark, so the condition is what changes.
 * @param {string} theme "light", "dark", or else as the system is
 */
export function look(theme) {
  const condition = { dark: "all", light: "not all" }[theme] ?? "(prefers-color-scheme: dark)";
  document.documentElement.style.colorScheme = theme;
  for (const rule of document.styleSheets[0]?.cssRules ?? []) {
    if (!(rule instanceof CSSMediaRule) || !isOfColours(rule)) continue;
    rule.media.mediaText = condition;
  }
}

/** @param {CSSMediaRule} rule */
function isOfColours(rule) {
  const [first] = rule.cssRules;
  return first instanceof CSSStyleRule && first.selectorText === ":root" &&
    first.style.getPropertyValue("--paper") !== "";
}
