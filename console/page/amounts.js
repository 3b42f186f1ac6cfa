// Numbers as people type them.

import { html } from './lit.js';
import { money } from './format.js';
import { field } from './ui.js';
import { text } from './text.js';

const { fields: words } = text;

/**
 * A number with a point or a comma: 12,5 is 12.5, 1,000 and 1.000,50 are a thousand.
 *
 * @param {string} typed @returns {number | null} null if it is empty, NaN if it is no number of at least 0
 */
export function parsed(typed) {
  const digits = typed.replaceAll(/[\s$_]/g, '');
  if (digits === '') return null;
  const thousands = /^\d{1,3}(,\d{3})+(\.\d+)?$/.test(digits) ? ',' : /^\d{1,3}(\.\d{3})+,\d+$/.test(digits) ? '.' : '';
  const plain = (thousands ? digits.replaceAll(thousands, '') : digits).replace(',', '.');
  return /^\d*\.?\d+$|^\d+\.$/.test(plain) ? Number(plain) : NaN;
}

/** A number of a form; null if the field is empty. @param {FormData} form @param {string} name */
export const amount = (form, name) => parsed(String(form.get(name) ?? ''));

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

/** Whether all can be sent. @param {string[]} typed */
export const areNumbers = typed => typed.every(one => !Number.isNaN(parsed(one) ?? 0));
