// What a key's row means. Rows are LiteLLM's own (`UserAPIKeyAuth` of the contract).

import { pill } from './ui.js';
import { text } from './text.js';
import { dayOf, duration, exact } from './format.js';

const WARN_DAYS = 14;
const SOON = 24 * 3600;

/** @typedef {any} Key a row of GET …/keys; `isOwnerOver` is whether its owner's budget is used up */

/** @param {Key} key */
export const keyName = key =>
  key.key_alias || (key.isSession && text.keys.session) || key.key_name || text.keys.unnamed;

/** Whether a key was made for a workload, in exchange for its token: it ends by itself. @param {Key} key */
export const isShort = key => Boolean(key.source);

/** What the page calls the source of a short key, which usage has as a group. @param {string} source */
export function workloadOf(source) {
  const [kind, name] = source.split(':');
  return kind === 'device' ? text.keys.device(name.slice(0, 12)) : text.keys.workload(name);
}

/** Whether LiteLLM takes calls with it. @param {Key} key */
export const isActive = key => statusOf(key) === 'active';

/**
 * Whether LiteLLM refuses calls because of a budget. 0 is a budget.
 *
 * @param {number} spend @param {number | null} budget
 */
export const isOver = (spend, budget) => budget !== null && spend >= budget;

/**
 * Whether LiteLLM's row makes no sense there: its absence does not mean null.
 *
 * @param {Key} key @param {string} field
 */
export const isOdd = (key, field) => key.oddFields?.includes(field) ?? false;

/**
 * As the API has it, and whether calls are refused because of a budget: what has expired is expired, also if it is
 * blocked.
 *
 * @param {Key} key @param {number} now milliseconds
 */
function statusOf(key, now = Date.now()) {
  if (key.expires && Date.parse(key.expires) <= now) return 'expired';
  if (key.blocked || isOdd(key, 'blocked') || isOdd(key, 'expires')) return 'blocked';
  return key.isOwnerOver || isOver(key.spend, key.max_budget) ? 'overBudget' : 'active';
}

/**
 * Whether a blocked key may be unblocked. A report is for good, and only an admin undoes what its owner did not do
 * here. A service that is older than the page does not say who blocked it: there it may be tried.
 *
 * @param {Key} key @param {boolean} mayUndoOthers
 */
export function mayUnblock({ blockedBy }, mayUndoOthers) {
  if (blockedBy === 'report') return false;
  return mayUndoOthers || blockedBy === undefined || blockedBy === 'owner';
}

/**
 * Whether a key may be replaced: if it is not blocked, or was reported as leaked. Where it is not said who blocked it,
 * it may be tried.
 *
 * @param {Key} key
 */
export const mayRotate = key =>
  statusOf(key) !== 'expired' && (!key.blocked || [undefined, 'report'].includes(key.blockedBy));

/**
 * Whether a tier's number of keys includes it: not if it has expired, was replaced, or ends by itself.
 *
 * @param {Key} key
 */
export const takesRoom = key => statusOf(key) !== 'expired' && !key.replacedBy && !key.isSession && !isShort(key);

/** @param {Key} key @param {number} now milliseconds */
export function statusPill(key, now = Date.now()) {
  const status = statusOf(key, now);
  if (status === 'blocked' && !key.blocked) return pill('bad', text.keys.odd, text.keys.oddHint);
  if (status === 'blocked')
    return pill(
      'bad',
      text.keys.blockedBy[key.blockedBy] ?? text.keys.status.blocked,
      key.blockedAt ? text.keys.blockedAt(exact(key.blockedAt)) : '',
    );
  if (status === 'expired') return pill('bad', text.keys.status.expired, exact(key.expires));
  if (status === 'overBudget')
    return pill('bad', text.keys.status.overBudget, key.isOwnerOver ? text.keys.ownerOver : '');
  const end = key.revokeAt ?? (key.expires && Date.parse(key.expires) - now < WARN_DAYS * 86400e3 ? key.expires : null);
  if (!end) return pill('good', text.keys.status.active);
  const seconds = (Date.parse(end) - now) / 1000;
  const word = seconds < SOON ? text.keys.endsIn(duration(Math.max(0, seconds))) : text.keys.ends(dayOf(end));
  return pill('warn', word, exact(end));
}

/** A model to show code with: one that the key may call. @param {string[]} own @param {string[]} served */
export const modelFor = (own, served) => own[0] ?? served[0] ?? 'MODEL';

/** @param {Key} key */
export const rates = key =>
  isOdd(key, 'rpm_limit') || isOdd(key, 'tpm_limit') ? '?' : text.keys.rates(key.rpm_limit, key.tpm_limit);

/** Whether a key matches what was typed. @param {Key} key @param {string} query @param {string} status */
export function matches(key, query, status) {
  if (status && statusOf(key) !== status) return false;
  const wanted = query.trim().toLowerCase();
  return [keyName(key), key.key_name ?? '', ...key.models].some(word => word.toLowerCase().includes(wanted));
}

/** @type {Record<string, (key: Key) => string | number>} */
const ORDER = {
  key: key => keyName(key).toLowerCase(),
  spend: key => key.spend,
  used: key => Date.parse(key.last_active ?? '') || 0,
  expires: key => Date.parse(key.expires ?? '') || Infinity,
};
export const SORTABLE = Object.keys(ORDER);
/** What is looked for first there: the most, and the latest. */
const DESCENDING = ['spend', 'used'];

/** How a column is sorted, in words of ARIA. @param {string} by @param {boolean} isReversed from how it is usual */
export const directionOf = (by, isReversed) => (DESCENDING.includes(by) === isReversed ? 'ascending' : 'descending');

/** @param {Key[]} keys @param {string} by @param {boolean} isReversed from how it is usual */
export function sorted(keys, by, isReversed) {
  const order = ORDER[by];
  if (!order) return keys;
  const sign = directionOf(by, isReversed) === 'ascending' ? 1 : -1;
  return keys.toSorted((a, b) => (order(a) < order(b) ? -sign : order(a) > order(b) ? sign : 0));
}
