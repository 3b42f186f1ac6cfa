// Times relative to now, in days of the reader's calendar.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { when } from '../page/format.js';

const NOW = new Date(2026, 10, 29, 14, 17).getTime();
const SHOWN = [
  [new Date(2026, 11, 1, 0, 5), 'in 2 days'],
  [new Date(2026, 10, 30, 14, 17), 'tomorrow'],
  [new Date(2026, 10, 30, 23, 59), 'tomorrow'],
  [new Date(2026, 10, 30, 14, 16), 'in 24 hours'],
  [new Date(2026, 10, 28, 0, 1), 'yesterday'],
  [new Date(2026, 10, 27, 23, 59), '2 days ago'],
  [new Date(2026, 11, 6, 14, 16), 'in 7 days'],
  [new Date(2026, 11, 6, 14, 18), '6 Dec'],
];

for (const [time, shown] of SHOWN) {
  test(`${time.toISOString()} is ${shown}`, () => assert.equal(when(time.toISOString(), NOW), shown));
}
