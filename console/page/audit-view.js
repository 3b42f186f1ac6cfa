// Who changed what, for admins: filters, what it was before and after, export.

import { html, nothing } from './lit.js';
import { read } from './api.js';
import { exact, nameOf, when } from './format.js';
import { download, empty, field, pill } from './ui.js';
import { text } from './text.js';
import { View } from './view.js';

const { audit: words } = text;
const PAGE = 50;
const TYPING = 300;
const ACTIONS = ['user.create', 'user.update', 'user.delete', 'user.block', 'user.restore', 'key.create', 'key.update', 'key.delete', 'key.regenerate', 'key.revoke', 'key.report'];
/** @type {Record<string, 'good' | 'warn' | 'bad' | 'plain'>} */
const KINDS = { done: 'good', denied: 'warn', failed: 'bad' };

class AuditView extends View {
  heading = words.title;
  lead = words.lead;
  /** @type {Record<string, string | null>} */ filters = {};
  /** @type {any[]} */ rows = [];
  /** @type {string | null} */ next = null;
  #typing = 0;

  async load() {
    const page = await this.#page(null);
    this.rows = page.events;
    this.next = page.nextCursor;
  }

  /** @param {string | null} cursor */
  #page(cursor) {
    const since = this.filters.since ? new Date(this.filters.since).toISOString() : null;
    return read(['audit'], { ...this.filters, since, limit: PAGE, cursor });
  }

  async #more() {
    try {
      const page = await this.#page(this.next);
      this.rows = [...this.rows, ...page.events];
      this.next = page.nextCursor;
      this.requestUpdate();
    } catch (error) {
      this.failure = error;
    }
  }

  /** @param {string} name @param {string} value */
  #filter(name, value) {
    this.filters[name] = value || null;
    clearTimeout(this.#typing);
    this.#typing = window.setTimeout(() => this.reload(), TYPING);
  }

  actions() {
    return this.rows.length ? html`<button type="button" @click=${() => this.#export()}>${words.export}</button>` : nothing;
  }

  content() {
    const changed = (/** @type {string} */ name) => (/** @type {any} */ event) => this.#filter(name, event.target.value.trim());
    return html`<section class="card">
      <div class="tools wrap">
        ${field(words.actor, html`<input type="search" data-filter @input=${changed('actor')} placeholder="user:default/bob">`)}
        ${field(words.target, html`<input type="search" @input=${changed('target')} placeholder="user:default/alice">`)}
        ${field(words.action, html`<select @change=${changed('action')}><option value="">${words.any}</option>${ACTIONS.map(action => html`<option>${action}</option>`)}</select>`)}
        ${field(words.since, html`<input type="date" @change=${changed('since')}>`)}
      </div>
      ${this.rows.length ? this.#table() : empty(words.empty)}
      ${this.next ? html`<div class="tools end"><button type="button" @click=${() => this.#more()}>${text.more}</button></div>` : nothing}
    </section>`;
  }

  #table() {
    const { columns } = words;
    return html`<div class="scroll" tabindex="0" role="region" aria-label=${words.title}><table><thead><tr><th scope="col">${columns.at}</th><th scope="col">${columns.actor}</th><th scope="col">${columns.action}</th>
        <th scope="col">${columns.target}</th><th scope="col">${columns.outcome}</th><th scope="col" class="wide">${columns.change}</th></tr></thead>
      <tbody>${this.rows.map(row => html`<tr><td class="when" title=${exact(row.at)}>${when(row.at)}</td><td title=${row.actor}>${nameOf(row.actor)}</td><td><code>${row.action}</code></td>
        <td title=${row.target}>${row.target ? nameOf(row.target) : '–'}</td><td>${pill(KINDS[row.outcome] ?? 'plain', words.outcomes[/** @type {'done'} */ (row.outcome ?? 'open')] ?? row.outcome)}</td>
        <td class="wide">${difference(row)}</td></tr>`)}</tbody></table></div>`;
  }

  #export() {
    const fields = ['at', 'actor', 'via', 'action', 'target', 'keyId', 'requestId', 'outcome', 'detail', 'before', 'requested', 'after'];
    const cell = (/** @type {unknown} */ value) => (value !== null && typeof value === 'object' ? JSON.stringify(value) : value);
    download('audit.csv', [fields, ...this.rows.map(row => fields.map(name => cell(row[name])))]);
  }
}
customElements.define('audit-view', AuditView);

/** What differs between before and after, or what was asked for. @param {any} row */
function difference(row) {
  const before = row.before ?? {};
  const after = row.after ?? row.requested ?? {};
  const names = Object.keys(after).filter(name => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
  const shown = (/** @type {unknown} */ value) => (value === null || value === undefined ? text.none : typeof value === 'object' ? JSON.stringify(value) : String(value));
  if (!names.length) return html`<small>${row.detail ?? ''}</small>`;
  return html`<ul class="changes">${names.map(name => html`<li dir="auto"><code>${name}</code> ${name in before ? html`<del>${shown(before[name])}</del> → ` : nothing}<ins>${shown(after[name])}</ins></li>`)}</ul>
    ${row.detail ? html`<small>${row.detail}</small>` : nothing}`;
}
