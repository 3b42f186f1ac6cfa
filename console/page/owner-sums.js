// What groups and components may spend and spent in sum, by entry of the settings and by group.

import { html, nothing } from './lit.js';
import { budgetBar } from './budget.js';
import { money, number } from './format.js';
import { hrefOf } from './route.js';
import { heads, table } from './ui.js';
import { text } from './text.js';
import { View } from './view.js';

const { ownerSums: words } = text;

/** @typedef {{owners: number, maxBudget: number | null, spend: number}} Figures `OwnerSum` */
/** @typedef {{group: string, figures: Figures}} Group */
/** @typedef {{tier: string, maxOwners: number | null, total: Figures, groups: Group[]}} Entry */

class OwnerSums extends View {
  heading = words.title;
  lead = words.lead;
  /** @type {Entry[]} */ entries = [];
  /** @type {Figures} */ unmatched = { owners: 0, maxBudget: 0, spend: 0 };

  async load() {
    return this.api.read(['owners']);
  }

  /** Where only people have keys there is nothing to say. */
  render() {
    return this.isLoaded && !this.entries.length && !this.unmatched.owners ? nothing : super.render();
  }

  content() {
    const rows = this.entries.map(({ tier, total }) => row(tier, total, number(total.owners)));
    if (this.unmatched.owners) rows.push(row(words.unmatched, this.unmatched, number(this.unmatched.owners)));
    return html`<section class="card">
      ${sums(words.title, words.columns.entry, rows)} ${this.entries.map(entry => groupsOf(entry))}
    </section>`;
  }
}
customElements.define('owner-sums', OwnerSums);

/** @param {Entry} entry */
function groupsOf({ tier, maxOwners, groups }) {
  if (!groups.length) return nothing;
  const label = words.groups(groups.length, tier);
  const rows = groups.map(({ group, figures }) =>
    row(
      html`<a href=${hrefOf(group)}>${group}</a>`,
      figures,
      maxOwners === null ? number(figures.owners) : words.of(figures.owners, maxOwners),
      group,
    ),
  );
  return html`<details class="more">
    <summary>${label}</summary>
    ${sums(label, words.columns.group, rows)}
  </details>`;
}

/** @param {string} label @param {string} what each row is about @param {unknown[]} rows */
function sums(label, what, rows) {
  const { columns } = words;
  return table(label, heads([[what], [columns.owners, 'num'], [columns.spend, 'num'], [columns.budget]]), rows);
}

/** @param {unknown} what @param {Figures} figures @param {string} count @param {string} name for who hears the page */
const row = (what, { spend, maxBudget }, count, name = String(what)) =>
  html`<tr>
    <td class="first">${what}</td>
    <td class="num" data-label=${words.columns.owners}>${count}</td>
    <td class="num" data-label=${words.spent}>${money(spend)}</td>
    <td class="mini">${maxBudget === null ? text.keys.tiles.unlimited : budgetBar(spend, maxBudget, name)}</td>
  </tr>`;
