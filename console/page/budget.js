// What of a budget is spent, since when, and what it means that it is used up, wherever that matters.

import { html, nothing } from './lit.js';
import { dayOf, moment, money } from './format.js';
import { isOver } from './key-facts.js';
import { owners } from './owners.js';
import { session } from './session.js';
import { bar, tile } from './ui.js';
import { text } from './text.js';

const DAY = 86400e3;
const UNITS = { s: 1000, m: 60e3, h: 3600e3, d: DAY, w: 7 * DAY };
const IN_UNITS = /^(\d+)([smhdw])$/;
/** LiteLLM ends them on the 1st of the next month. */
const MONTHS = ['1mo', '30d'];

/**
 * What the sum of a budget's tile is: what was spent in the period that ends when the budget renews.
 *
 * @param {{budgetDuration: string | null, resetsAt: string | null} | null} budget null if it is not known
 */
function spentSince(budget, now = Date.now()) {
  if (!budget) return text.budget.spent;
  const { budgetDuration, resetsAt } = budget;
  if (!budgetDuration || !resetsAt) return text.budget.spentEver;
  const start = new Date(resetsAt);
  const [, count, unit] = IN_UNITS.exec(budgetDuration) ?? [];
  if (MONTHS.includes(budgetDuration)) start.setUTCMonth(start.getUTCMonth() - 1);
  else if (unit) start.setTime(start.getTime() - Number(count) * UNITS[/** @type {'d'} */ (unit)]);
  else return text.budget.spent;
  const iso = start.toISOString();
  return text.budget.spentSince(Date.parse(resetsAt) - start.getTime() < DAY ? moment(iso, now) : dayOf(iso));
}

/**
 * What was spent, and of how much.
 *
 * @param {Parameters<typeof spentSince>[0]} budget @param {{spend: number, maxBudget: number | null}} figures
 * @param {string} unlimited what stands there if there is no limit
 */
export function budgetTile(budget, { spend, maxBudget }, unlimited = '') {
  const most = maxBudget === null ? unlimited : ofBudget(maxBudget);
  const part = maxBudget === null ? nothing : bar(spend, maxBudget, text.budget.spent);
  return tile(spentSince(budget), html`${money(spend)} <small>${most}</small>`, part);
}

/** What is spent of a budget, in a table. @param {number} spend @param {number} most @param {string} whose */
export const budgetBar = (spend, most, whose) =>
  html`${bar(spend, most, `${text.keys.columns.budget} ${whose}`)} <small>${ofBudget(most)}</small>`;

/**
 * What a user may spend and how fast, in a few words.
 *
 * @param {{maxBudget: number | null, budgetDuration: string | null, models: string[], rpmLimit: number | null,
 *   tpmLimit: number | null}} limits
 */
export function limitsOf({ maxBudget, budgetDuration, models, rpmLimit, tpmLimit }) {
  const { periods, every } = text.fields;
  const period = periods[/** @type {'1mo'} */ (budgetDuration === '30d' ? '1mo' : budgetDuration)];
  const renewed = budgetDuration ? `, ${period ?? every(budgetDuration)}` : '';
  const budget = maxBudget === null ? text.keys.tiles.unlimited : `${money(maxBudget)}${renewed}`;
  const rates = rpmLimit === null && tpmLimit === null ? '' : text.keys.rates(rpmLimit, tpmLimit);
  return [budget, rates, models.join(', ')].filter(Boolean).join(' · ');
}

/** @param {number} most */
const ofBudget = most => `${text.keys.tiles.of} ${money(most)}`;

/**
 * @param {{userId: string, spend: number, maxBudget: number | null}} user
 * @param {string | null | undefined} resetsAt if it is known
 */
export function budgetNotice({ userId, spend, maxBudget }, resetsAt) {
  if (!isOver(spend, maxBudget)) return nothing;
  const end = maxBudget && resetsAt ? dayOf(resetsAt) : null;
  const sentence =
    userId === session.person?.subject
      ? text.budget.usedUp(money(maxBudget), end, session.settings.contact)
      : text.budget.usedUpOf(owners.titleOf(userId), money(maxBudget), end);
  return html`<div class="notice warn" role="status">${sentence}</div>`;
}
