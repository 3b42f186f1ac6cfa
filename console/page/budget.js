// What of a budget is spent, since when, and what it means that it is used up, wherever that matters.

import { html, nothing } from './lit.js';
import { dayOf, moment, money, nameOf } from './format.js';
import { isOver } from './key-facts.js';
import { session } from './session.js';
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
export function spentSince(budget, now = Date.now()) {
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
 * @param {{userId: string, spend: number, maxBudget: number | null}} user
 * @param {string | null | undefined} resetsAt if it is known
 */
export function budgetNotice({ userId, spend, maxBudget }, resetsAt) {
  if (!isOver(spend, maxBudget)) return nothing;
  const end = maxBudget && resetsAt ? dayOf(resetsAt) : null;
  const sentence =
    userId === session.person?.subject
      ? text.budget.usedUp(money(maxBudget), end, session.settings.contact)
      : text.budget.usedUpOf(nameOf(userId), money(maxBudget), end);
  return html`<div class="notice warn" role="status">${sentence}</div>`;
}
