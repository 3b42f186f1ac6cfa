// What it means that a budget is used up, wherever it matters.

import { html, nothing } from './lit.js';
import { dayOf, money, nameOf } from './format.js';
import { isOver } from './key-facts.js';
import { session } from './session.js';
import { text } from './text.js';

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
