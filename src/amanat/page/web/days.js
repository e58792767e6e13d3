/** Days, hours and lives as a person reads them. */

import { line } from "./phrase.js";
import { clock, number, words } from "./words.js";

const DAY_MS = 86_400_000;
/** `dateStyle: "full"` puts a Persian date into a wrong order, so the year is added by hand. */
const day = new Intl.DateTimeFormat(words.locale, {
  weekday: "long",
  day: "numeric",
  month: "long",
});
const date = new Intl.DateTimeFormat(words.locale, { month: "short", day: "numeric" });
const weekday = new Intl.DateTimeFormat(words.locale, { weekday: "short" });
const year = new Intl.DateTimeFormat(words.locale, { year: "numeric" });

/** The year of a time, in the words of its calendar. @param {number} at */
export function yearOf(at) {
  return year.formatToParts(at).find((one) => one.type === "year")?.value ?? "";
}

/**
 * Whether two times are of one day.
 * @param {number} one @param {number} other
 */
export function isSameDay(one, other) {
  return Math.abs(one - other) < DAY_MS &&
    new Date(one).getDate() === new Date(other).getDate();
}

/**
 * A day by its name.
 * @param {number} at @param {number} [now]
 */
export function dayName(at, now = Date.now()) {
  if (isSameDay(at, now)) return words.today;
  const yesterday = new Date(now);
  yesterday.setDate(yesterday.getDate() - 1);
  if (isSameDay(at, yesterday.getTime())) return words.yesterday;
  return withYear(day.format(at), at, now);
}

/** The year stands behind a day of another year. @param {string} name @param {number} at @param {number} now */
function withYear(name, at, now) {
  const of = yearOf(at);
  return of === yearOf(now) ? name : line(words.dayOfYear, { day: name, year: of });
}

/** A day in few words. @param {number} at */
export function shortDay(at) {
  return withYear(date.format(at), at, Date.now());
}

/** A time as short as it can be: today's clock, a day of this week, or a date. @param {number} at */
export function shortly(at) {
  const now = Date.now();
  if (isSameDay(at, now)) return clock.format(at);
  const isOfThisWeek = at < now && at >= new Date(now).setHours(0, 0, 0, 0) - 6 * DAY_MS;
  return isOfThisWeek ? weekday.format(at) : shortDay(at);
}

/** A time in few words. @param {number} at */
export function shortMoment(at) {
  const hour = clock.format(at);
  return isSameDay(at, Date.now()) ? hour : line(words.moment, { day: shortDay(at), hour });
}

/** A time in full. @param {number} at */
export function moment(at) {
  return line(words.moment, { day: dayName(at), hour: clock.format(at) });
}

/** @type {[number, string][]} */
const UNITS = [[DAY_MS, "day"], [3_600_000, "hour"], [60_000, "minute"]];
const units = new Map(UNITS.map(([, unit]) => [
  unit,
  new Intl.NumberFormat(words.locale, { style: "unit", unit, unitDisplay: "short" }),
]));

/**
 * How long something lasts yet, roughly: in whole days, hours or minutes, and at least a minute.
 * @param {number} ms
 */
export function span(ms) {
  const [size, unit] = UNITS.find(([size]) => ms >= size) ?? [60_000, "minute"];
  const many = Math.max(1, Math.floor(ms / size));
  return units.get(unit)?.format(many) ?? number.format(many);
}
