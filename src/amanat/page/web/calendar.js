/** The days of a conversation, by months of the calendar that the person has set. */

import { yearOf } from "./days.js";
import { make } from "./dom.js";
import { icon } from "./icons.js";
import { choice } from "./parts.js";
import { line } from "./phrase.js";
import { leave, show } from "./sheet.js";
import { number, words } from "./words.js";

/** @import { Line } from "./line.js" */

/** Numbers to reckon with: the words of the page may have digits of their own. */
const plain = new Intl.DateTimeFormat(new Intl.Locale(words.locale, { numberingSystem: "latn" }), {
  year: "numeric",
  month: "numeric",
  day: "numeric",
});
const monthName = new Intl.DateTimeFormat(words.locale, { month: "long" });
const dayName = new Intl.DateTimeFormat(words.locale, { day: "numeric", month: "long" });
const weekday = new Intl.DateTimeFormat(words.locale, { weekday: "long" });
const weekdayShort = new Intl.DateTimeFormat(words.locale, { weekday: "narrow" });
/** On which day a week begins, from Monday, 1; Firefox does not know. */
const FIRST = weekBegins();

function weekBegins() {
  const locale = /** @type {any} */ (new Intl.Locale(words.locale));
  return locale.getWeekInfo?.().firstDay ?? (locale.language === "fa" ? 6 : 1);
}

/** @param {number} at @returns {{ year: string, month: string, day: number }} */
function fields(at) {
  const found = new Map(plain.formatToParts(at).map(({ type, value }) => [type, value]));
  return {
    year: found.get("year") ?? "",
    month: found.get("month") ?? "",
    day: Number(found.get("day")),
  };
}

/** The same day at noon: every day has a noon, and where clocks change, not every one a midnight. @param {number} at */
function noon(at) {
  return new Date(at).setHours(12, 0, 0, 0);
}

/** @param {number} at @param {number} days */
function shift(at, days) {
  const date = new Date(at);
  return date.setDate(date.getDate() + days);
}

/** The days of the month in which a time is. @param {number} at */
function month(at) {
  const first = shift(at, 1 - fields(at).day), name = fields(first).month;
  const days = [first];
  for (let next = shift(first, 1); fields(next).month === name; next = shift(next, 1)) {
    days.push(next);
  }
  return days;
}

/** As far into another month, or at its end. @param {number} at @param {1 | -1} way */
function inNextMonth(at, way) {
  const days = month(at);
  const other = month(way > 0 ? shift(days.at(-1) ?? at, 1) : shift(days[0] ?? at, -1));
  return other[Math.min(fields(at).day, other.length) - 1] ?? at;
}

/**
 * Let the person choose a day.
 * @param {number} at a time of the day to begin with
 * @param {number} earliest a time of the first day that there is
 * @param {(since: number) => void} chosen gets the beginning of the day
 */
export function showDays(at, earliest, chosen) {
  const first = noon(earliest), last = noon(Date.now());
  /** @param {number} day */
  const within = (day) => Math.max(first, Math.min(noon(day), last));
  const years = yearsBetween(first, last);
  const body = make("div", { className: "days" });
  let current = within(at);

  /** @param {number} to @param {boolean} [isHeld] whether the day gets the focus */
  function go(to, isHeld = true) {
    current = within(to);
    body.replaceChildren(...draw());
    const day = body.querySelector("[aria-selected=true] button");
    if (isHeld && day instanceof HTMLElement) day.focus();
  }

  /** @param {1 | -1} way @param {string} label */
  function turn(way, label) {
    const days = month(current),
      edge = way > 0 ? shift(days.at(-1) ?? 0, 1) : shift(days[0] ?? 0, -1);
    const made = make("button", {
      type: "button",
      className: "round",
      ariaLabel: label,
      title: label,
      disabled: within(edge) !== edge,
      onclick: () => {
        go(inNextMonth(current, way), false);
        const again = body.querySelectorAll(".round")[way > 0 ? 1 : 0];
        if (again instanceof HTMLButtonElement && !again.disabled) again.focus();
        else go(current);
      },
    }, icon(way > 0 ? "on" : "back"));
    return made;
  }

  function draw() {
    const days = month(current), { year } = fields(current);
    const before = ((new Date(days[0] ?? 0).getDay() || 7) - FIRST + 7) % 7;
    const cells = [...Array(before).fill(undefined), ...days];
    const name = line(words.monthOfYear, {
      month: monthName.format(current),
      year: yearOf(current),
    });
    const rows = [];
    for (let i = 0; i < cells.length; i += 7) {
      rows.push(make("tr", {}, ...cells.slice(i, i + 7).map(cell)));
    }
    return [
      make(
        "div",
        { className: "line" },
        turn(-1, words.monthBefore),
        make("strong", { role: "status" }, name),
        turn(1, words.monthAfter),
      ),
      ...(years.length > 1
        ? [choice(words.year, year, years, (wanted) => Promise.resolve(go(inYear(wanted), false)))]
        : []),
      make(
        "table",
        { role: "grid", ariaLabel: name, onkeydown: key },
        make("thead", {}, make("tr", {}, ...weekdays())),
        make("tbody", {}, ...rows),
      ),
    ];
  }

  /** @param {number | undefined} day */
  function cell(day) {
    if (day === undefined) return make("td", {});
    const isCurrent = day === current;
    const start = new Date(day).setHours(0, 0, 0, 0);
    return make(
      "td",
      { role: "gridcell", ariaSelected: String(isCurrent) },
      make("button", {
        type: "button",
        tabIndex: isCurrent ? 0 : -1,
        autofocus: isCurrent,
        ariaLabel: `${weekday.format(day)}${words.comma}${dayName.format(day)}`,
        disabled: within(day) !== day,
        onclick: () => {
          leave();
          chosen(start);
        },
      }, number.format(fields(day).day)),
    );
  }

  /** The same month of another year. @param {string} wanted */
  function inYear(wanted) {
    const way = Number(wanted) > Number(fields(current).year) ? 1 : -1;
    let to = current;
    for (let i = 0; i < 12 * years.length && fields(to).year !== wanted; i++) {
      for (let many = 0; many < 12; many++) to = inNextMonth(to, way);
    }
    return to;
  }

  /** @param {KeyboardEvent} event */
  function key(event) {
    const ahead = document.dir === "rtl" ? -1 : 1;
    const to = {
      ArrowRight: shift(current, ahead),
      ArrowLeft: shift(current, -ahead),
      ArrowDown: shift(current, 7),
      ArrowUp: shift(current, -7),
      PageDown: inNextMonth(current, 1),
      PageUp: inNextMonth(current, -1),
    }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    go(to);
  }

  body.replaceChildren(...draw());
  show({ title: words.toDay, build: () => [body] });
}

/** @param {number} first @param {number} last @returns {[string, string][]} */
function yearsBetween(first, last) {
  /** @type {Map<string, string>} */
  const found = new Map();
  for (let at = first; at < last; at = shift(at, 28)) found.set(fields(at).year, yearOf(at));
  return [...found.set(fields(last).year, yearOf(last))];
}

/** The names of the days of a week. */
function weekdays() {
  return [...Array(7).keys()].map((place) => {
    const day = Date.UTC(2024, 0, FIRST + place, 12); // 2024 began on a Monday
    return make("th", { scope: "col", abbr: weekday.format(day) }, weekdayShort.format(day));
  });
}
