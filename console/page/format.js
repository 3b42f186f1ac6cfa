// Numbers and times as people read them.

import { text } from './text.js';

const LOCALE = 'en-GB';
const SECONDS = /** @type {const} */ ([
  ['day', 86400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
]);
const WEEK = 7 * 86400;
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const day = new Intl.DateTimeFormat(LOCALE, { day: 'numeric', month: 'short' });
const utcDay = new Intl.DateTimeFormat(LOCALE, { day: 'numeric', month: 'short', timeZone: 'UTC' });
const dayAndYear = new Intl.DateTimeFormat(LOCALE, { day: 'numeric', month: 'short', year: 'numeric' });
const exactTime = new Intl.DateTimeFormat(LOCALE, { dateStyle: 'full', timeStyle: 'long' });
const clock = new Intl.DateTimeFormat(LOCALE, { hour: '2-digit', minute: '2-digit' });
/** @param {Date | number} time */
const midnight = time => new Date(time).setHours(0, 0, 0, 0);
const whole = new Intl.NumberFormat('en-US');

/** @param {number} usd @param {number} digits after the point */
const dollars = (usd, digits) =>
  `$${usd.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;

/** USD with two digits, or four where that is less than a cent. @param {number | null | undefined} usd */
export function money(usd) {
  if (usd === null || usd === undefined) return '–';
  if (usd > 0 && usd < 0.00005) return '<$0.0001';
  return dollars(usd, usd !== 0 && Math.abs(usd) < 0.00995 ? 4 : 2);
}

/** For a tooltip, where `money` leaves digits out. @param {number | null | undefined} usd */
export const exactMoney = usd =>
  usd === null || usd === undefined || Number(usd.toFixed(2)) === usd ? '' : `$${Number(usd.toPrecision(12))}`;

/**
 * A line of an axis, with as many digits as the lines need to differ.
 *
 * @param {number} usd @param {number} step between the lines
 */
export function tick(usd, step) {
  let digits = 2;
  while (digits < 12 && Math.abs(Number(step.toFixed(digits)) - step) > step / 1000) digits += 1;
  return dollars(usd, digits);
}

/** @param {number} value */
export const number = value => whole.format(value);

/** Relative up to a week, absolute after that. @param {string | null | undefined} iso */
export function when(iso, now = Date.now()) {
  if (!iso) return text.times.never;
  const date = new Date(iso);
  const seconds = (date.getTime() - now) / 1000;
  if (Math.abs(seconds) > WEEK) {
    return date.getFullYear() === new Date(now).getFullYear() ? day.format(date) : dayAndYear.format(date);
  }
  const [unit, size] = SECONDS.find(([, length]) => Math.abs(seconds) >= length) ?? SECONDS[3];
  // Days of the calendar: what is in 34 hours may be tomorrow, or the day after.
  if (unit === 'day') return relative.format(Math.round((midnight(date) - midnight(now)) / 1000 / size), unit);
  return relative.format(Math.round(seconds / size), unit);
}

/** For a tooltip. @param {string | null | undefined} iso */
export const exact = iso => (iso ? exactTime.format(new Date(iso)) : '');

/** Hours and minutes. @param {number} milliseconds since the epoch */
export const timeOfDay = milliseconds => clock.format(new Date(milliseconds));

/** When something was done: 17:48 on the same day, with the day before that. @param {string} iso */
export function moment(iso, now = Date.now()) {
  const date = new Date(iso);
  const time = clock.format(date);
  return date.toDateString() === new Date(now).toDateString() ? time : `${day.format(date)}, ${time}`;
}

/** A day such as 1 Dec. @param {string | null | undefined} iso */
export const dayOf = iso => (iso ? day.format(new Date(iso)) : '–');

/** A day in UTC, such as 1 Dec. @param {string} date as YYYY-MM-DD */
export const utcDayOf = date => utcDay.format(new Date(date));

/** Seconds in words: 45 min, 2 h, 3 days. @param {number} seconds */
export function duration(seconds) {
  if (seconds < 3600) return text.times.minutes(Math.round(seconds / 60));
  if (seconds < 2 * 86400) return text.times.hours(Math.round(seconds / 3600));
  return text.times.days(Math.round(seconds / 86400));
}

/** Whether a subject is a user, and no service. @param {string} subject */
export const isUser = subject => /^user:[^\s/:]+\/[^\s/:]+$/i.test(subject);

/** Whether a text is the id of a key, and no name. @param {string} word */
export const isKeyId = word => /^(key_[0-9a-f]{32}|[0-9a-f]{64})$/.test(word);

/** @param {string} id of a key */
export const shortId = id => `${id.slice(0, id.startsWith('key_') ? 12 : 8)}…`;

/** The name in an entity ref: alice of user:default/alice. @param {string} ref */
export const nameOf = ref => ref.slice(ref.indexOf('/') + 1);
