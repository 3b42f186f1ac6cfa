// The keys of a user: the table, and everything that can be done to a key.

import { html, nothing, repeat } from './lit.js';
import { ConfirmDialog, open } from './dialog.js';
import { KeyForm } from './key-form.js';
import { KeyReport } from './key-report.js';
import { KeyRotate } from './key-rotate.js';
import { budgetNotice } from './budget.js';
import { SORTABLE, isOdd, isOver, keyName, matches, mayRotate, mayUnblock, rates, sorted, statusPill, takesRoom } from './key-facts.js';
import { dayOf, exact, exactMoney, money, when } from './format.js';
import { showMenu } from './menu.js';
import { notices } from './notices.js';
import { session } from './session.js';
import { bar, empty } from './ui.js';
import { text } from './text.js';
import { COUNTDOWN, View } from './view.js';

const { keys: words } = text;
/** What another try cannot change. */
const REFUSALS = [400, 403];

class KeysView extends View {
  /** @type {import('lit').PropertyDeclarations} */ static properties = { query: { state: true }, status: { state: true }, by: { state: true }, note: { state: true } };

  heading = words.title;
  lead = words.lead;
  userId = '';
  /** @type {any} */ me = null;
  /** @type {any[]} */ rows = [];
  /** @type {any} */ user = null;
  /** @type {any} */ budget = null;
  /** @type {string[] | null} those that are served, if that is known */ models = null;
  period = COUNTDOWN;

  constructor() {
    super();
    this.query = '';
    this.status = '';
    this.by = '';
    this.note = '';
  }

  async load() {
    // The user first: asking for it creates the user of a member who is here for the first time.
    const user = await this.api.read(['users', this.userId]);
    this.#loadBudget();
    this.loadPart('models', async () => (await this.api.read(['models'])).models.map((/** @type {any} */ model) => model.id));
    const { keys } = await this.api.read(['users', this.userId, 'keys']);
    const isOwnerOver = isOver(user.spend, user.maxBudget);
    return { user, rows: keys.map((/** @type {any} */ key) => ({ ...key, isOwnerOver })) };
  }

  #loadBudget() {
    this.loadPart('budget', async () => (await this.api.read(['users', this.userId, 'usage'])).budget);
  }

  get #limits() {
    return this.userId === this.me.subject ? this.me.limits : {};
  }

  /** The number of keys that the tier's limit is about. */
  get #count() {
    return this.rows.filter(row => takesRoom(row)).length;
  }

  get #isFull() {
    return this.#count >= (this.#limits.maxKeys ?? Infinity);
  }

  actions() {
    return html`<button type="button" @click=${() => this.#report()}>${words.report}</button>
      <button type="button" class="primary" data-create ?disabled=${this.#isFull} aria-describedby="full" @click=${() => this.create()}>${words.create}</button>
      ${this.#isFull ? html`<small id="full">${words.full(this.#count, this.#limits.maxKeys)}</small>` : nothing}`;
  }

  content() {
    return html`
      <div aria-live="polite">${this.note ? html`<div class="notice good">${this.note}</div>` : nothing}</div>
      ${budgetNotice(this.user, this.budget?.resetsAt)}
      ${this.#tiles()}
      ${this.rows.length ? this.#table() : html`<section class="card">${empty(words.empty, html`<button type="button" @click=${() => this.create()}>${words.create}</button>`)}</section>`}`;
  }

  #tiles() {
    const { spend, maxBudget } = this.user;
    const { tiles } = words;
    const tier = this.userId === this.me.subject ? this.me.tier : this.user.tier;
    return html`<section class="tiles">
      <div class="tile"><span>${tiles.spent}</span><strong>${money(spend)} <small>${maxBudget === null ? tiles.unlimited : `${tiles.of} ${money(maxBudget)}`}</small></strong>
        ${maxBudget === null ? nothing : bar(spend, maxBudget, tiles.spent)}</div>
      <div class="tile"><span>${tiles.resets}</span>${this.#resets()}</div>
      <div class="tile"><span>${tiles.keys}</span><strong>${this.#limits.maxKeys ? this.#count : this.rows.length}${this.#limits.maxKeys ? html` <small>${tiles.of} ${this.#limits.maxKeys}</small>` : nothing}</strong>
        <small>${tier && tier !== 'userDefaults' ? `${tiles.tier} ${tier}` : nothing}</small></div>
    </section>`;
  }

  #resets() {
    const { tiles } = words;
    if (this.missing.budget) return html`<strong>${tiles.missing}</strong><button type="button" class="quiet" @click=${() => this.#loadBudget()}>${text.retry}</button>`;
    if (!this.budget?.resetsAt) return html`<strong>${this.budget ? tiles.noReset : '…'}</strong>`;
    return html`<strong title=${exact(this.budget.resetsAt)}>${dayOf(this.budget.resetsAt)}</strong><small>${when(this.budget.resetsAt)}</small>`;
  }

  #table() {
    const shown = sorted(this.rows.filter(row => matches(row, this.query, this.status)), this.by);
    const head = (/** @type {keyof typeof words.columns} */ name, kind = '') => {
      const isSorted = this.by === name;
      return html`<th scope="col" class=${kind} aria-sort=${isSorted ? 'ascending' : 'none'}>${SORTABLE.includes(name)
        ? html`<button type="button" class="sort" @click=${() => (this.by = isSorted ? '' : name)}>${words.columns[name]}</button>`
        : words.columns[name]}</th>`;
    };
    return html`<section class="card">
      <div class="tools"><input type="search" data-filter placeholder=${words.filter} aria-label=${words.filter} .value=${this.query} @input=${(/** @type {any} */ event) => (this.query = event.target.value)}>
        <select aria-label=${words.statusFilter} @change=${(/** @type {any} */ event) => (this.status = event.target.value)}>
          <option value="">${words.statusFilter}: ${words.status.all}</option>
          ${['active', 'overBudget', 'blocked', 'expired'].map(status => html`<option value=${status}>${words.status[/** @type {'active'} */ (status)]}</option>`)}</select></div>
      <div class="scroll" tabindex="0" role="region" aria-label=${words.title}><table class="keys"><thead><tr>${head('key')}${head('status')}${head('models', 'wide')}${head('spend', 'num')}${head('budget', 'wide')}${head('rates', 'wider')}${head('used', 'wider')}${head('expires', 'wide')}<td></td></tr></thead>
      <tbody>${repeat(shown, row => row.token, row => this.#row(row))}</tbody></table></div>
      ${shown.length ? nothing : empty(words.noMatch)}
    </section>`;
  }

  /** @param {any} row */
  #row(row) {
    return html`<tr>
      <td><div class="name" dir="auto">${keyName(row)}</div><div class="sub">${row.key_name}</div></td>
      <td>${statusPill(row)}</td>
      <td class="wide">${row.models.length ? row.models.join(', ') : words.allModels}</td>
      <td class="num" title=${exactMoney(row.spend)}>${money(row.spend)}</td>
      <td class="wide mini">${isOdd(row, 'max_budget') ? '?' : row.max_budget === null ? '–' : html`${bar(row.spend, row.max_budget, `${words.columns.budget} ${keyName(row)}`)}<small>${words.tiles.of} ${money(row.max_budget)}</small>`}</td>
      <td class="wider">${rates(row)}</td>
      <td class="wider" title=${exact(row.last_active)}>${when(row.last_active)}</td>
      <td class="wide" title=${exact(row.expires)}>${isOdd(row, 'expires') ? '?' : when(row.expires)}</td>
      <td class="num"><button type="button" class="quiet" data-key=${row.token} aria-haspopup="menu" aria-label=${words.actions(keyName(row))} @click=${(/** @type {MouseEvent} */ event) => this.#menu(event, row)}>⋯</button></td>
    </tr>`;
  }

  /** @param {MouseEvent} event @param {any} row */
  #menu(event, row) {
    const { dialogs } = text;
    const blocking = row.blocked ? { label: dialogs.unblock, act: () => this.#unblock(row) } : { label: dialogs.block, act: () => this.#block(row) };
    const rotate = { label: dialogs.rotate, act: () => open(new KeyRotate(), { userId: this.userId, key: row, models: this.models, changed: () => this.#saved(), gone: () => this.#gone(row) }) };
    const actions = [
      { label: dialogs.edit, act: () => this.#edit(row) },
      ...(mayRotate(row) ? [rotate] : []),
      ...(row.blocked && !mayUnblock(row, this.me.roles.includes('admin')) ? [] : [blocking]),
      { label: dialogs.remove, danger: true, act: () => this.#remove(row) },
    ];
    showMenu(event, actions);
  }

  create() {
    if (this.isLoaded && !this.#isFull) {
      open(new KeyForm(), { userId: this.userId, warning: budgetNotice(this.user, this.budget?.resetsAt), limits: this.#limits, models: this.models, changed: () => this.#saved() });
    }
  }

  /** @param {any} row */
  async #edit(row) {
    try {
      const { body, etag } = await this.api.call('GET', ['users', this.userId, 'keys', row.token]);
      open(new KeyForm(), { userId: this.userId, row: body, etag, limits: this.#limits, models: this.models, changed: () => this.reload(), gone: () => this.#gone(row) });
    } catch (error) {
      this.#failed(row, words.notRead(keyName(row)), error, { label: words.editAgain, act: () => this.#edit(row) });
    }
  }

  /** @param {any} row @param {string} title @param {any} error @param {{label: string, act: () => void}} again */
  #failed(row, title, error, again) {
    if (error.status === 404) this.#gone(row);
    else this.failed(title, error, REFUSALS.includes(error.status) ? null : again);
  }

  /** Somebody else, or another tab, has deleted a key. @param {any} row */
  #gone(row) {
    this.#forget(row);
    notices.add({ kind: 'good', title: words.gone(keyName(row)) });
  }

  /** @param {any} row */
  #forget(row) {
    this.rows = this.rows.filter(other => other.token !== row.token);
    this.reload();
  }

  /** Shown at once, and taken back if it fails. @param {any} row */
  async #block(row) {
    this.#set(row.token, { blocked: true, blockedBy: undefined });
    try {
      this.#set(row.token, await this.#patch(row, { blocked: true }));
      this.note = words.isBlocked(keyName(row), session.soon);
    } catch (error) {
      this.#set(row.token, row);
      this.#failed(row, words.notBlocked(keyName(row)), error, { label: words.blockAgain, act: () => this.#block(row) });
    }
  }

  /** Shown when it is done, so that no key seems to work that does not. @param {any} row */
  async #unblock(row) {
    try {
      this.#set(row.token, await this.#patch(row, { blocked: false }));
      this.note = '';
    } catch (error) {
      this.#failed(row, words.notUnblocked(keyName(row)), error, { label: words.unblockAgain, act: () => this.#unblock(row) });
    }
  }

  /** @param {any} row @param {object} body */
  async #patch(row, body) {
    return (await this.api.call('PATCH', ['users', this.userId, 'keys', row.token], { body })).body;
  }

  /** The rows may have been read anew meanwhile. @param {string} token @param {object} fields */
  #set(token, fields) {
    this.rows = this.rows.map(row => (row.token === token ? { ...row, ...fields } : row));
    this.requestUpdate();
  }

  /** @param {any} row */
  #remove(row) {
    const { dialogs } = text;
    const name = keyName(row);
    const [replaced] = row.pendingRevocations ?? [];
    const choice = (/** @type {string} */ value, /** @type {string} */ label) =>
      html`<label><input type="radio" name="replaced" value=${value} ?checked=${value === 'keep'}>${label}</label>`;
    open(new ConfirmDialog(), {
      heading: dialogs.removeTitle(name),
      lead: dialogs.removeLead(session.soon),
      more: () => (replaced ? html`<fieldset><legend>${dialogs.replacedTitle}</legend><div class="choices">${choice('keep', dialogs.replacedKeep)}${choice('delete', dialogs.replacedDelete(session.soon))}</div></fieldset>` : nothing),
      word: name,
      button: dialogs.removeButton(name),
      undone: words.notDeleted(name),
      gone: () => {
        this.#forget(row);
        notices.add({ kind: 'good', title: words.alreadyDeleted(name) });
      },
      act: async (api, form) => {
        const query = form.get('replaced') === 'delete' ? { replaced: 'delete' } : {};
        await api.call('DELETE', ['users', this.userId, 'keys', row.token], { query });
        this.#forget(row);
      },
    });
  }

  #report() {
    open(new KeyReport(), { reported: () => ((this.note = text.dialogs.reported), this.reload()) });
  }

  #saved() {
    this.note = '';
    this.reload();
  }
}
customElements.define('keys-view', KeysView);
