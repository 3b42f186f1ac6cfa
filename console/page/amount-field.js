// A field for an amount, that says how it is understood.

import { html } from './lit.js';
import { parsed } from './amounts.js';
import { money } from './format.js';
import { field } from './ui.js';
import { text } from './text.js';

const { fields: words } = text;

/**
 * A field for USD, or for a whole number, that says how it is understood.
 *
 * @param {'maxBudget' | 'rpmLimit' | 'tpmLimit'} name @param {number | null} value as it was
 * @param {string} typed what it is now @param {string} wrong why it cannot be sent @param {string} hint
 */
export function amountField(name, value, typed, wrong, hint) {
  const isMoney = name === 'maxBudget';
  const now = parsed(typed);
  const isOdd = now !== null && (Number.isNaN(now) || (!isMoney && !Number.isInteger(now)));
  const read = isMoney && now !== null && !isOdd ? money(now) : '';
  const input = html`<input
    name=${name}
    inputmode=${isMoney ? 'decimal' : 'numeric'}
    autocomplete="off"
    .defaultValue=${value ?? ''}
    aria-invalid=${isOdd || wrong !== ''}
  />`;
  return field(words[name], input, isOdd ? words.noNumber : [wrong, hint, read].filter(Boolean).join(' '));
}
