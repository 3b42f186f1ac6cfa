// Who changed what, for admins: filters, what it was before and after, export.

import { html, nothing } from './lit.js';
import { exact, nameOf, when } from './format.js';
import { download, empty, field, pill } from './ui.js';
import { PAGE, PagedView } from './paged-view.js';
import { text } from './text.js';

const { audit: words } = text;
const MOST_EXPORTED = 10_000;
const ACTIONS = [
  'user.create',
  'user.update',
  'user.delete',
  'user.block',
  'user.restore',
  'key.create',
  'key.update',
  'key.delete',
  'key.regenerate',
  'key.revoke',
  'key.report',
];
/** @type {Record<string, 'good' | 'warn' | 'bad' | 'plain'>} */
const KINDS = { done: 'good', denied: 'warn', failed: 'bad' };

class AuditView extends PagedView {
  /** @type {import('lit').PropertyDeclarations} */ static properties = { exported: { state: true } };

  heading = words.title;
  lead = words.lead;
  /** @type {Record<string, string | null>} */ filters = {};

  constructor() {
    super();
    /** @type {number | null} how many events an export has read so far */ this.exported = null;
  }

  /** Days are those of who looks, from their first second to their last. */
  get #query() {
    const { since, until } = this.filters;
    const time = (/** @type {string} */ local) => new Date(local).toISOString().replace(/\.\d+/, '');
    return {
      ...this.filters,
      since: since ? time(`${since}T00:00`) : null,
      until: until ? time(`${until}T23:59:59`) : null,
    };
  }

  /** @param {string | null} cursor */
  async page(cursor) {
    const { events, nextCursor } = await this.api.read(['audit'], { ...this.#query, limit: PAGE, cursor });
    return { rows: events, next: nextCursor };
  }

  /** @param {string} name @param {string} value */
  #filter(name, value) {
    this.filters[name] = value || null;
    this.reloadSoon();
  }

  actions() {
    if (!this.rows.length) return nothing;
    const isBusy = this.exported !== null;
    return html`<button type="button" ?disabled=${isBusy} @click=${() => this.#export()}>
      ${isBusy ? words.exporting(this.exported ?? 0) : words.export}
    </button>`;
  }

  content() {
    const changed = (/** @type {string} */ name) => (/** @type {any} */ event) =>
      this.#filter(name, event.target.value.trim());
    return html`<section class="card">
      <div class="tools wrap">
        ${field(
          words.actor,
          html`<input type="search" data-filter @input=${changed('actor')} placeholder="user:default/bob" />`,
        )}
        ${field(
          words.target,
          html`<input type="search" @input=${changed('target')} placeholder="user:default/alice" />`,
        )}
        ${field(
          words.action,
          html`<select @change=${changed('action')}>
            <option value="">${words.any}</option>
            ${ACTIONS.map(action => html`<option>${action}</option>`)}
          </select>`,
        )}
        ${field(words.since, html`<input type="date" @change=${changed('since')} />`)}
        ${field(words.until, html`<input type="date" @change=${changed('until')} />`)}
      </div>
      ${this.rows.length ? this.#table() : empty(words.empty)} ${this.moreButton()}
    </section>`;
  }

  #table() {
    const { columns } = words;
    return html`<div class="scroll" tabindex="0" role="region" aria-label=${words.title}>
      <table>
        <thead>
          <tr>
            <th scope="col">${columns.at}</th>
            <th scope="col">${columns.actor}</th>
            <th scope="col">${columns.action}</th>
            <th scope="col">${columns.target}</th>
            <th scope="col">${columns.outcome}</th>
            <th scope="col" class="wide">${columns.change}</th>
          </tr>
        </thead>
        <tbody>
          ${this.rows.map(
            row =>
              html`<tr>
                <td class="when" title=${exact(row.at)}>${when(row.at)}</td>
                <td title=${row.actor}>${nameOf(row.actor)}</td>
                <td><code>${row.action}</code></td>
                <td title=${row.target}>${row.target ? nameOf(row.target) : '–'}</td>
                <td>${outcome(row)}</td>
                <td class="wide">${difference(row)}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
  }

  /** Everything that the filters let through, and not only what is shown. */
  async #export() {
    this.exported = 0;
    try {
      const rows = await this.api.readAll(
        ['audit'],
        'events',
        this.#query,
        MOST_EXPORTED,
        count => (this.exported = count),
      );
      this.#save(rows);
      if (rows.length === MOST_EXPORTED)
        this.failed(words.exportedPart, { message: words.exportedMost(MOST_EXPORTED) });
    } catch (error) {
      this.failed(words.notExported, error, { label: words.exportAgain, act: () => this.#export() });
    }
    this.exported = null;
  }

  /** @param {any[]} rows */
  #save(rows) {
    const fields = [
      'at',
      'actor',
      'via',
      'action',
      'target',
      'keyId',
      'requestId',
      'outcome',
      'detail',
      'before',
      'requested',
      'after',
    ];
    const cell = (/** @type {unknown} */ value) =>
      value !== null && typeof value === 'object' ? JSON.stringify(value) : value;
    download('audit.csv', [fields, ...rows.map(row => fields.map(name => cell(row[name])))]);
  }
}
customElements.define('audit-view', AuditView);

/** @param {any} row */
const outcome = row =>
  pill(KINDS[row.outcome] ?? 'plain', words.outcomes[/** @type {'done'} */ (row.outcome ?? 'open')] ?? row.outcome);

/** What differs between before and after, or what was asked for. @param {any} row */
function difference(row) {
  const before = row.before ?? {};
  const after = row.after ?? row.requested ?? {};
  const names = Object.keys(after).filter(name => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
  const shown = (/** @type {unknown} */ value) =>
    value === null || value === undefined
      ? text.none
      : typeof value === 'object'
        ? JSON.stringify(value)
        : String(value);
  if (!names.length) return html`<small>${row.detail ?? ''}</small>`;
  return html`<ul class="changes">
      ${names.map(
        name =>
          html`<li dir="auto">
            <code>${name}</code> ${name in before ? html`<del>${shown(before[name])}</del> → ` : nothing}<ins
              >${shown(after[name])}</ins
            >
          </li>`,
      )}
    </ul>
    ${row.detail ? html`<small>${row.detail}</small>` : nothing}`;
}
