// The table of keys: what is shown of them, filtered and sorted.

import { LitElement, html, nothing, repeat } from './lit.js';
import { exact, exactMoney, money, when } from './format.js';
import { SORTABLE, isOdd, keyName, matches, rates, sorted, statusPill } from './key-facts.js';
import { bar, empty } from './ui.js';
import { text } from './text.js';

const { keys: words } = text;
const STATUSES = /** @type {const} */ (['active', 'overBudget', 'blocked', 'expired']);
/** With the class of its cells. @type {[keyof typeof words.columns, string][]} */
const COLUMNS = [
  ['key', ''],
  ['status', ''],
  ['models', 'wide'],
  ['spend', 'num'],
  ['budget', 'wide'],
  ['rates', 'wider'],
  ['used', 'wider'],
  ['expires', 'wide'],
];

class KeysTable extends LitElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    rows: {},
    query: { state: true },
    status: { state: true },
    by: { state: true },
  };

  /** @type {(event: MouseEvent, row: any) => void} */ menu = () => {};

  constructor() {
    super();
    /** @type {any[]} */ this.rows = [];
    this.query = '';
    this.status = '';
    this.by = '';
  }

  createRenderRoot() {
    return this;
  }

  render() {
    const shown = sorted(
      this.rows.filter(row => matches(row, this.query, this.status)),
      this.by,
    );
    return html`<section class="card">
      <div class="tools">
        <input
          type="search"
          data-filter
          placeholder=${words.filter}
          aria-label=${words.filter}
          .value=${this.query}
          @input=${(/** @type {any} */ event) => (this.query = event.target.value)}
        />
        <select
          aria-label=${words.statusFilter}
          @change=${(/** @type {any} */ event) => (this.status = event.target.value)}
        >
          <option value="">${words.statusFilter}: ${words.status.all}</option>
          ${STATUSES.map(status => html`<option value=${status}>${words.status[status]}</option>`)}
        </select>
      </div>
      <div class="scroll" tabindex="0" role="region" aria-label=${words.title}>
        <table class="keys">
          <thead>
            <tr>
              ${COLUMNS.map(([name, kind]) => this.#head(name, kind))}
              <td></td>
            </tr>
          </thead>
          <tbody>
            ${repeat(
              shown,
              row => row.token,
              row => this.#row(row),
            )}
          </tbody>
        </table>
      </div>
      ${shown.length ? nothing : empty(words.noMatch)}
    </section>`;
  }

  /** @param {keyof typeof words.columns} name @param {string} kind */
  #head(name, kind) {
    const isSorted = this.by === name;
    const label = words.columns[name];
    const button = html`<button type="button" class="sort" @click=${() => (this.by = isSorted ? '' : name)}>
      ${label}
    </button>`;
    return html`<th scope="col" class=${kind} aria-sort=${isSorted ? 'ascending' : 'none'}>
      ${SORTABLE.includes(name) ? button : label}
    </th>`;
  }

  /** @param {any} row */
  #row(row) {
    return html`<tr>
      <td>
        <div class="name" dir="auto">${keyName(row)}</div>
        <div class="sub">${row.key_name}</div>
      </td>
      <td>${statusPill(row)}</td>
      <td class="wide">${row.models.length ? row.models.join(', ') : words.allModels}</td>
      <td class="num" title=${exactMoney(row.spend)}>${money(row.spend)}</td>
      <td class="wide mini">${budget(row)}</td>
      <td class="wider">${rates(row)}</td>
      <td class="wider" title=${exact(row.last_active)}>${when(row.last_active)}</td>
      <td class="wide" title=${exact(row.expires)}>${isOdd(row, 'expires') ? '?' : when(row.expires)}</td>
      <td class="num">
        <button
          type="button"
          class="quiet"
          data-key=${row.token}
          aria-haspopup="menu"
          aria-label=${words.actions(keyName(row))}
          @click=${(/** @type {MouseEvent} */ event) => this.menu(event, row)}
        >
          ⋯
        </button>
      </td>
    </tr>`;
  }
}
customElements.define('keys-table', KeysTable);

/** @param {any} row */
function budget(row) {
  if (isOdd(row, 'max_budget')) return '?';
  if (row.max_budget === null) return '–';
  return html`${bar(row.spend, row.max_budget, `${words.columns.budget} ${keyName(row)}`)}
    <small>${words.tiles.of} ${money(row.max_budget)}</small>`;
}
