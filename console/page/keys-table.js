// The table of keys: what is shown of them, filtered and sorted.

import { html, nothing, repeat } from './lit.js';
import { PageElement } from './element.js';
import { budgetBar } from './budget.js';
import { exact, exactMoney, money, when } from './format.js';
import {
  SORTABLE,
  directionOf,
  isActive,
  isOdd,
  isShort,
  keyName,
  matches,
  rates,
  sorted,
  statusPill,
  workloadOf,
} from './key-facts.js';
import { empty, pill, rowFilters, table } from './ui.js';
import { text } from './text.js';

const { keys: words } = text;
/** With the class of its cells: the higher its number, the more room a column needs to be shown. */
const COLUMNS = /** @type {const} */ ([
  ['key', ''],
  ['status', ''],
  ['models', 'if-3'],
  ['spend', 'num'],
  ['budget', ''],
  ['rates', 'if-4'],
  ['used', 'if-2'],
  ['expires', 'if-2'],
]);

class KeysTable extends PageElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    rows: {},
    query: { state: true },
    status: { state: true },
    by: { state: true },
    isReversed: { state: true },
    unfolded: { state: true },
  };

  /** Shows what may be done with a key. @type {(event: MouseEvent, row: any) => void} */ menu = () => {};
  /** The key that is looked for, if any. */
  keyId = '';

  constructor() {
    super();
    /** @type {any[]} */ this.rows = [];
    this.query = '';
    this.status = '';
    this.by = '';
    this.isReversed = false;
    /** @type {Set<string>} the workloads whose keys are shown */ this.unfolded = new Set();
  }

  /** What is looked for is not folded away. */
  willUpdate() {
    if (this.hasUpdated) return;
    const wanted = this.rows.find(row => row.token === this.keyId);
    if (wanted && isShort(wanted)) this.unfolded = new Set([wanted.source]);
  }

  /** What is looked for is where the eye and the focus are. */
  firstUpdated() {
    const row = this.querySelector('tr[aria-current]');
    row?.scrollIntoView({ block: 'center' });
    /** @type {HTMLElement | null} */ (row?.querySelector('[data-key]') ?? null)?.focus({ preventScroll: true });
  }

  render() {
    const shown = sorted(
      this.rows.filter(row => matches(row, this.query, this.status)),
      this.by,
      this.isReversed,
    );
    return html`<section class="card">
      ${rowFilters(
        words.filter,
        this.query,
        query => (this.query = query),
        Object.entries(words.status),
        status => (this.status = status),
      )}
      ${table(
        words.title,
        html`${COLUMNS.map(([name, kind]) => this.#head(name, kind))}
          <td></td>`,
        [this.#rows(shown.filter(row => !isShort(row))), this.#groups(shown.filter(isShort))],
      )}
      ${shown.length ? nothing : empty(words.noMatch)}
    </section>`;
  }

  /** @param {any[]} rows */
  #rows(rows) {
    return repeat(
      rows,
      row => row.token,
      row => this.#row(row),
    );
  }

  /**
   * Short keys come and go by themselves: a row for each workload, and its keys below it on demand.
   *
   * @param {any[]} rows
   */
  #groups(rows) {
    const sources = [...new Set(rows.map(row => row.source))].toSorted();
    return sources.map(source =>
      this.#group(
        source,
        rows.filter(row => row.source === source),
      ),
    );
  }

  /** @param {string} source @param {any[]} rows */
  #group(source, rows) {
    const name = source.startsWith('device:') ? text.keys.device(keyName(rows[0])) : workloadOf(source);
    const isOpen = this.unfolded.has(source);
    const spend = rows.reduce((sum, row) => sum + row.spend, 0);
    const used = latest(rows.map(row => row.last_active));
    return html`<tr class="group">
        <td class="first">
          <button type="button" class="quiet fold" aria-expanded=${isOpen} @click=${() => this.#fold(source)}>
            ${name}
          </button>
          <div class="sub">${words.short(rows.length, rows.filter(row => isActive(row)).length)}</div>
        </td>
        <td class="state">${pill('plain', words.isShort, words.shortHint)}</td>
        <td class="if-3 nothing"></td>
        <td class="num" title=${exactMoney(spend)}>${money(spend)}</td>
        <td class="nothing"></td>
        <td class="if-4 nothing"></td>
        <td class="if-2 ${used ? '' : 'nothing'}" data-label=${words.used} title=${exact(used)}>${when(used)}</td>
        <td class="if-2 nothing"></td>
        <td class="act nothing"></td>
      </tr>
      ${isOpen ? this.#rows(rows) : nothing}`;
  }

  /** @param {string} source */
  #fold(source) {
    const unfolded = new Set(this.unfolded);
    if (!unfolded.delete(source)) unfolded.add(source);
    this.unfolded = unfolded;
  }

  /** @param {typeof COLUMNS[number][0]} name @param {string} kind */
  #head(name, kind) {
    const label = words.columns[name];
    if (!SORTABLE.includes(name)) return html`<th scope="col" class=${kind}>${label}</th>`;
    const direction = directionOf(name, this.isReversed);
    return html`<th scope="col" class=${kind} aria-sort=${this.by === name ? direction : 'none'}>
      <button type="button" class="sort" @click=${() => this.#sort(name)}>${label}</button>
    </th>`;
  }

  /** The same again is the other way round. @param {string} name */
  #sort(name) {
    this.isReversed = this.by === name && !this.isReversed;
    this.by = name;
  }

  /** @param {any} row */
  #row(row) {
    const name = keyName(row);
    return html`<tr aria-current=${row.token === this.keyId ? 'true' : nothing}>
      <td class="first">
        <div class="name" dir="auto" title=${name}>${name}</div>
        <div class="sub">${row.key_name}</div>
      </td>
      <td class="state">${statusPill(row)}</td>
      <td class="if-3 part models">${models(row.models)}</td>
      <td class="num" title=${exactMoney(row.spend)}>${money(row.spend)}</td>
      <td class="mini ${row.max_budget === null ? 'nothing' : ''}">${budget(row)}</td>
      <td class="if-4 part">${rates(row)}</td>
      <td class="if-2 ${row.last_active ? '' : 'nothing'}" data-label=${words.used} title=${exact(row.last_active)}>
        ${when(row.last_active)}
      </td>
      <td class="if-2 ${row.expires ? '' : 'nothing'}" data-label=${words.end} title=${exact(row.expires)}>
        ${isOdd(row, 'expires') ? '?' : when(row.expires)}
      </td>
      <td class="act">${this.#menuButton(row, name)}</td>
    </tr>`;
  }

  /** @param {any} row @param {string} name */
  #menuButton(row, name) {
    return html`<button
      type="button"
      class="quiet"
      data-key=${row.token}
      aria-haspopup="menu"
      aria-expanded="false"
      aria-label=${words.actions(name)}
      @click=${(/** @type {MouseEvent} */ event) => this.menu(event, row)}
    >
      ⋯
    </button>`;
  }
}
customElements.define('keys-table', KeysTable);

/** The last of some times. @param {(string | null | undefined)[]} times */
const latest = times => times.filter(Boolean).toSorted().at(-1);

/** @param {any} row */
function budget(row) {
  if (isOdd(row, 'max_budget')) return '?';
  if (row.max_budget === null) return '–';
  return budgetBar(row.spend, row.max_budget, keyName(row));
}

/** A list on demand, so that a key of many models is no wall of words. @param {string[]} names */
function models(names) {
  if (!names.length) return words.allModels;
  if (names.length === 1) return names[0];
  return html`<details>
    <summary>${words.models(names.length)}</summary>
    <ul>
      ${names.map(name => html`<li>${name}</li>`)}
    </ul>
  </details>`;
}
