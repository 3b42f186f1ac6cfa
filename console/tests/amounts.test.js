// What people type as a number, and what it is to the API.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { amount, areNumbers, parsed } from '../page/amounts.js';

const READ = {
  7: 7,
  0: 0,
  12.5: 12.5,
  '12,5': 12.5,
  '.5': 0.5,
  ',5': 0.5,
  '5.': 5,
  '1,000': 1000,
  '1,000,000': 1_000_000,
  '1,000.50': 1000.5,
  '1.000,50': 1000.5,
  '1.000.000,5': 1_000_000.5,
  '1.000': 1,
  ' $1 000 ': 1000,
  '1_000_000': 1_000_000,
  '1\u00a0000,5': 1000.5,
};

for (const [typed, value] of Object.entries(READ)) {
  test(`“${typed}” is ${value}`, () => assert.equal(parsed(typed), value));
}

for (const typed of [
  'a lot',
  '-5',
  '+5',
  '1e3',
  '12,5,',
  '1,00,000',
  '1.2.3',
  '1,2,3',
  '.',
  ',',
  'NaN',
  'Infinity',
  '٣',
]) {
  test(`“${typed}” is no number`, () => assert.equal(parsed(typed), NaN));
}

test('nothing typed is null, which is no limit, and not 0', () => {
  assert.deepEqual(['', '  ', '$'].map(parsed), [null, null, null]);
});

test('a form has an amount, or null for a field that is empty or not there', () => {
  const form = new FormData();
  form.set('maxBudget', '12,5');
  form.set('rpmLimit', '');
  assert.deepEqual(
    ['maxBudget', 'rpmLimit', 'tpmLimit'].map(name => amount(form, name)),
    [12.5, null, null],
  );
});

test('all can be sent if each is a number or empty', () => {
  assert.equal(areNumbers(['1', '', '0,5']), true);
  assert.equal(areNumbers(['1', 'much']), false);
});
