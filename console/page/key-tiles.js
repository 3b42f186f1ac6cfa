// What stands above the keys of an owner: what of the budget is spent, when it renews, and how many keys there are.

import { html, nothing } from './lit.js';
import { budgetTile } from './budget.js';
import { dayOf, exact, when } from './format.js';
import { tile } from './ui.js';
import { text } from './text.js';

const { tiles: words } = text.keys;

/**
 * @typedef {object} Figures
 * @property {any} user @property {any} budget null if it is not known @property {unknown} missing why it is not
 * @property {number} count of keys, and the most of them if there is a limit @property {number | null | undefined} most
 * @property {string | null} tier
 */

/** @param {Figures} figures @param {() => void} retry reads the budget again */
export function keyTiles({ user, budget, missing, count, most, tier }, retry) {
  const keys = most ? html`${count} <small>${words.of} ${most}</small>` : count;
  const ofTier = html`<small>${tier && tier !== 'userDefaults' ? `${words.tier} ${tier}` : nothing}</small>`;
  return html`<section class="tiles">
    ${budgetTile(budget, user, words.unlimited)} ${user.isNew ? renewsLater() : renews(budget, missing, retry)}
    ${tile(words.keys, keys, ofTier)}
  </section>`;
}

/** @param {any} budget @param {unknown} missing @param {() => void} retry */
function renews(budget, missing, retry) {
  if (missing)
    return tile(
      words.resets,
      words.missing,
      html`<button type="button" class="quiet" @click=${retry}>${text.retry}</button>`,
    );
  const end = budget?.resetsAt;
  if (!end) return tile(words.resets, budget ? words.noReset : '…');
  return tile(words.resets, dayOf(end), html`<small>${when(end)}</small>`, exact(end));
}

const renewsLater = () => tile(words.resets, '–', html`<small>${words.firstKey}</small>`);
