// What a user's row means.

import { isOver } from './key-facts.js';
import { pill } from './ui.js';
import { text } from './text.js';

const { users: words } = text;
/** @type {Record<string, 'good' | 'warn' | 'bad'>} */
const KINDS = { active: 'good', overBudget: 'bad', offboarding: 'bad' };

/**
 * A status, by what is shown beside it: the service's own is as old as its last look at all users.
 *
 * @param {{status?: string, spend: number, maxBudget: number | null}} user of the API
 */
export function userPill({ status = 'active', spend, maxBudget }) {
  const isRefused = isOver(spend, maxBudget);
  const now =
    status === 'active' && isRefused ? 'overBudget' : status === 'overBudget' && !isRefused ? 'active' : status;
  const word = words.status[/** @type {'active'} */ (now)] ?? now;
  return pill(KINDS[now] ?? 'warn', word, now === 'overBudget' ? words.overHint : '');
}
