// Who changed what, for admins: filters, what it was before and after, export.

import { html, nothing } from './lit.js';
import { exact, isUser, nameOf, when } from './format.js';
import { aliasIn, difference } from './audit-change.js';
import { hrefOf } from './route.js';
import { download, empty, field, heads, pill, table } from './ui.js';
import { PAGE, PagedView } from './paged-view.js';
import { text } from './text.js';
import './person-field.js';

const { audit: words } = text;
const MOST_EXPORTED = 10_000;
/** How many users are asked for the names of their keys. */
const MOST_OWNERS = 10;
const ACTIONS = [
  'user.create',
  'user.update',
  'user.delete',
  'user.block',
  'user.restore',
  'key.create',
  'key.mint',
  'key.update',
  'key.delete',
  'key.regenerate',
  'key.transfer',
  'key.revoke',
  'key.report',
  'session.approve',
  'session.refuse',
  'session.end',
  'cleanup.run',
];
/** Who is no user. Services have a subject of their own. */
const ACTORS = ['cleanup', 'command line', 'rotation', 'reports', 'owner-check', 'sessions'];
/** @type {Record<string, 'good' | 'warn' | 'bad' | 'plain'>} */
const KINDS = { done: 'good', reconciled: 'good', denied: 'warn', failed: 'bad' };

class AuditView extends PagedView {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    exported: { state: true },
    aliases: { state: true },
  };

  heading = words.title;
  lead = words.lead;
  /** @type {Record<string, string | null>} */ filters = {};
  /** @type {Set<string>} whose keys were asked for */ #owners = new Set();
  #actors = new Set(ACTORS);

  constructor() {
    super();
    /** @type {number | null} how many events an export has read so far */ this.exported = null;
    /** @type {Record<string, string>} by the id of a key */ this.aliases = {};
  }

  /** Days are those of who looks, from their first second to their last; `until` is exclusive. */
  get #query() {
    const { since, until } = this.filters;
    return { ...this.filters, since: since ? midnight(since, 0) : null, until: until ? midnight(until, 1) : null };
  }

  get #isReversed() {
    const { since, until } = this.filters;
    return Boolean(since && until && since > until);
  }

  /** @param {string | null} cursor */
  async page(cursor) {
    const { events, nextCursor } = await this.api.read(['audit'], { ...this.#query, limit: PAGE, cursor });
    for (const { actor } of events) if (!isUser(actor)) this.#actors.add(actor);
    void this.#nameKeys(events);
    return { rows: events, next: nextCursor };
  }

  /** By the events themselves, and by the keys that their owners still have. @param {any[]} events */
  async #nameKeys(events) {
    const named = Object.fromEntries(events.map(event => [event.keyId, aliasIn(event)]).filter(([, alias]) => alias));
    this.aliases = { ...named, ...this.aliases };
    const unnamed = events.filter(event => event.keyId && event.target && !this.aliases[event.keyId]);
    const owners = [...new Set(unnamed.map(event => event.target))].filter(owner => !this.#owners.has(owner));
    for (const owner of owners.slice(0, MOST_OWNERS)) {
      this.#owners.add(owner);
      const { keys } = await this.api.read(['users', owner, 'keys']).catch(() => ({ keys: [] }));
      const now = keys.map((/** @type {any} */ key) => [key.token, key.key_alias]);
      this.aliases = { ...this.aliases, ...Object.fromEntries(now.filter((/** @type {any[]} */ [, alias]) => alias)) };
    }
  }

  /** @param {string} name @param {string | null} value */
  #filter(name, value) {
    this.filters[name] = value || null;
    this.requestUpdate();
    if (!this.#isReversed) this.reloadSoon();
  }

  actions() {
    if (!this.rows.length) return nothing;
    const label = this.exported === null ? words.export : words.exporting(this.exported);
    return html`<button type="button" ?disabled=${this.exported !== null} @click=${() => this.#export()}>
      ${label}
    </button>`;
  }

  content() {
    return html`<section class="card">
      ${this.#filters()} ${this.rows.length ? this.#table() : empty(words.empty)} ${this.moreButton()}
    </section>`;
  }

  #filters() {
    const changed = (/** @type {string} */ name) => (/** @type {any} */ event) =>
      this.#filter(name, event.target.value);
    const person = (/** @type {'actor' | 'target'} */ name, /** @type {string[]} */ others) =>
      html`<person-field
        .label=${words[name]}
        .others=${others}
        .chosen=${(/** @type {string | null} */ ref) => this.#filter(name, ref)}
      ></person-field>`;
    const day = (/** @type {'since' | 'until'} */ name) =>
      html`<input type="date" aria-invalid=${this.#isReversed} @change=${changed(name)} />`;
    return html`<div class="tools wrap">
      ${person('actor', [...this.#actors])} ${person('target', [])}
      ${field(
        words.action,
        html`<select @change=${changed('action')}>
          <option value="">${words.any}</option>
          ${ACTIONS.map(action => html`<option>${action}</option>`)}
        </select>`,
      )}
      ${field(words.since, day('since'))} ${field(words.until, day('until'), this.#isReversed ? words.reversed : '')}
    </div>`;
  }

  #table() {
    const { columns } = words;
    const head = heads([
      [columns.at],
      [columns.actor],
      [columns.action],
      [columns.target],
      [columns.key],
      [columns.outcome],
      [columns.change, 'if-2'],
    ]);
    const rows = this.rows.map(row => this.#row(row));
    return table(words.title, head, rows);
  }

  /** @param {any} row */
  #row(row) {
    return html`<tr>
      <td class="when" title=${exact(row.at)}>${when(row.at)}</td>
      <td title=${row.actor}>${nameOf(row.actor)}</td>
      <td class="first"><code>${row.action}</code></td>
      <td class=${row.target ? '' : 'nothing'} data-label=${words.of} title=${row.target ?? ''}>
        ${row.target ? nameOf(row.target) : '–'}
      </td>
      <td class=${row.keyId ? '' : 'nothing'} title=${row.keyId ?? ''}>${this.#key(row)}</td>
      <td class="state">${outcome(row)}</td>
      <td class="if-2 long">${difference(row)}</td>
    </tr>`;
  }

  /** @param {any} row */
  #key({ keyId, target }) {
    if (!keyId) return '–';
    const name = this.aliases[keyId] ?? html`<code>${keyId.slice(0, 8)}</code>`;
    return target ? html`<a class="name" dir="auto" href=${hrefOf(target, keyId)}>${name}</a>` : name;
  }

  /** Everything that the filters let through, and not only what is shown. */
  async #export() {
    this.exported = 0;
    try {
      const progress = (/** @type {number} */ count) => (this.exported = count);
      const rows = await this.api.readAll(['audit'], page => page.events, this.#query, MOST_EXPORTED, progress);
      this.#save(rows);
      if (rows.length === MOST_EXPORTED) {
        this.failed(words.exportedPart, { message: words.exportedMost(MOST_EXPORTED) });
      }
    } catch (error) {
      this.failed(words.notExported, error, { label: words.exportAgain, act: () => this.#export() });
    }
    this.exported = null;
  }

  /** @param {any[]} rows */
  #save(rows) {
    const fields = ['at', 'actor', 'via', 'action', 'target', 'keyId', 'requestId', 'outcome', 'detail'];
    const named = [...fields, 'before', 'requested', 'after'];
    const cell = (/** @type {unknown} */ value) =>
      value !== null && typeof value === 'object' ? JSON.stringify(value) : value;
    download('audit.csv', [named, ...rows.map(row => named.map(name => cell(row[name])))]);
  }
}
customElements.define('audit-view', AuditView);

/** @param {any} row */
const outcome = row =>
  pill(KINDS[row.outcome] ?? 'plain', words.outcomes[/** @type {'done'} */ (row.outcome ?? 'open')] ?? row.outcome);

/** When a day begins where the browser is. @param {string} day as YYYY-MM-DD @param {number} later in days */
function midnight(day, later) {
  const [year, month, date] = day.split('-').map(Number);
  return new Date(year, month - 1, date + later).toISOString().replace(/\.\d+/, '');
}
