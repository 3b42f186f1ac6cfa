// The keys of a user: the table, and everything that can be done to a key.

import { html, nothing } from './lit.js';
import { open } from './dialog.js';
import { confirmDeletion } from './key-delete.js';
import { KeyForm } from './key-form.js';
import { KeyReport } from './key-report.js';
import { KeyRotate } from './key-rotate.js';
import { budgetNotice, spentSince } from './budget.js';
import { isOver, keyName, mayRotate, mayUnblock, takesRoom } from './key-facts.js';
import { dayOf, exact, money, when } from './format.js';
import { showMenu } from './menu.js';
import { notices } from './notices.js';
import { may, session } from './session.js';
import { bar, empty, plain } from './ui.js';
import { text } from './text.js';
import { COUNTDOWN, View } from './view.js';
import './keys-table.js';

const { keys: words } = text;
/** What another try cannot change. */
const REFUSALS = [400, 403];

class KeysView extends View {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    note: { state: true },
  };

  heading = words.title;
  lead = words.lead;
  userId = '';
  /** The key that is looked for, if any. */
  keyId = '';
  /** @type {any} */ me = null;
  /** @type {any[]} */ rows = [];
  /** @type {any} */ user = null;
  /** @type {any} */ budget = null;
  /** @type {string[] | null} those that are served, if that is known */ models = null;
  period = COUNTDOWN;

  constructor() {
    super();
    this.note = '';
  }

  async load() {
    // The user first: asking for it creates the user of a member who is here for the first time.
    const user = await this.api.read(['users', this.userId]);
    this.#loadBudget();
    this.loadPart('models', async () =>
      (await this.api.read(['models'])).models.map((/** @type {any} */ model) => model.id),
    );
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

  get #mayCreate() {
    return may(this.me, 'keys.create', this.userId);
  }

  actions() {
    return html`<button type="button" @click=${() => this.#report()}>${words.report}</button>
      ${this.#mayCreate ? this.#createButton() : nothing}`;
  }

  #createButton() {
    return html`<button
        type="button"
        class="primary"
        data-create
        ?disabled=${this.#isFull}
        aria-describedby="full"
        @click=${() => this.create()}
      >
        ${words.create}
      </button>
      ${this.#isFull ? html`<small id="full">${words.full(this.#count, this.#limits.maxKeys)}</small>` : nothing}`;
  }

  content() {
    return html` <div aria-live="polite">
        ${this.note ? html`<div class="notice good">${this.note}</div>` : nothing}
      </div>
      ${budgetNotice(this.user, this.budget?.resetsAt)} ${this.#isMissing ? plain(words.isMissing) : nothing}
      ${this.#tiles()} ${this.rows.length ? this.#table() : this.#empty()}`;
  }

  get #isMissing() {
    return this.keyId !== '' && !this.rows.some(row => row.token === this.keyId);
  }

  #table() {
    const menu = may(this.me, 'keys.update', this.userId) ? this.#menu.bind(this) : null;
    return html`<keys-table .rows=${this.rows} .keyId=${this.keyId} .menu=${menu}></keys-table>`;
  }

  #empty() {
    const button = html`<button type="button" @click=${() => this.create()}>${words.create}</button>`;
    return html`<section class="card">${empty(words.empty, this.#mayCreate ? button : nothing)}</section>`;
  }

  #tiles() {
    const { spend, maxBudget } = this.user;
    const { tiles } = words;
    const { maxKeys } = this.#limits;
    const tier = this.userId === this.me.subject ? this.me.tier : this.user.tier;
    return html`<section class="tiles">
      <div class="tile">
        <span>${spentSince(this.budget)}</span
        ><strong
          >${money(spend)}
          <small>${maxBudget === null ? tiles.unlimited : `${tiles.of} ${money(maxBudget)}`}</small></strong
        >
        ${maxBudget === null ? nothing : bar(spend, maxBudget, text.budget.spent)}
      </div>
      <div class="tile"><span>${tiles.resets}</span>${this.#resets()}</div>
      <div class="tile">
        <span>${tiles.keys}</span
        ><strong>${maxKeys ? html`${this.#count} <small>${tiles.of} ${maxKeys}</small>` : this.rows.length}</strong>
        <small>${tier && tier !== 'userDefaults' ? `${tiles.tier} ${tier}` : nothing}</small>
      </div>
    </section>`;
  }

  #resets() {
    if (this.missing.budget)
      return html`<strong>${words.tiles.missing}</strong
        ><button type="button" class="quiet" @click=${() => this.#loadBudget()}>${text.retry}</button>`;
    if (!this.budget?.resetsAt) return html`<strong>${this.budget ? words.tiles.noReset : '…'}</strong>`;
    return html`<strong title=${exact(this.budget.resetsAt)}>${dayOf(this.budget.resetsAt)}</strong
      ><small>${when(this.budget.resetsAt)}</small>`;
  }

  /** @param {MouseEvent} event @param {any} row */
  #menu(event, row) {
    const { dialogs } = text;
    const blocking = row.blocked
      ? { label: dialogs.unblock, act: () => this.#unblock(row) }
      : { label: dialogs.block, act: () => this.#block(row) };
    const rotate = {
      label: dialogs.rotate,
      act: () =>
        open(new KeyRotate(), {
          userId: this.userId,
          key: row,
          models: this.models,
          changed: () => this.#saved(),
          gone: () => this.#gone(row),
        }),
    };
    const actions = [
      { label: dialogs.edit, act: () => this.#edit(row) },
      ...(mayRotate(row) ? [rotate] : []),
      ...(row.blocked && !mayUnblock(row, may(this.me, 'keys.unblock')) ? [] : [blocking]),
      { label: dialogs.remove, danger: true, act: () => this.#remove(row) },
    ];
    showMenu(event, keyName(row), actions);
  }

  create() {
    if (this.isLoaded && !this.#isFull && this.#mayCreate) {
      open(new KeyForm(), {
        userId: this.userId,
        warning: budgetNotice(this.user, this.budget?.resetsAt),
        limits: this.#limits,
        user: this.user,
        models: this.models,
        changed: () => this.#saved(),
      });
    }
  }

  /** @param {any} row */
  async #edit(row) {
    try {
      const { body, etag } = await this.api.call('GET', ['users', this.userId, 'keys', row.token]);
      open(new KeyForm(), {
        userId: this.userId,
        row: body,
        etag,
        limits: this.#limits,
        user: this.user,
        models: this.models,
        changed: () => this.reload(),
        gone: () => this.#gone(row),
      });
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
    const tokens = [...this.querySelectorAll('[data-key]')].map(button => button.getAttribute('data-key'));
    const at = tokens.indexOf(row.token);
    void this.#focusKey(tokens[at + 1] ?? tokens[at - 1]);
    this.rows = this.rows.filter(other => other.token !== row.token);
    this.reload();
  }

  /** What stood beside a key that is gone, or what makes another. @param {string | null | undefined} token */
  async #focusKey(token) {
    await this.updateComplete;
    await /** @type {any} */ (this.querySelector('keys-table'))?.updateComplete;
    const next = this.querySelector(`[data-key="${token}"]`) ?? this.querySelector('[data-create]');
    /** @type {HTMLElement | null} */ (next)?.focus();
  }

  /** Shown at once, and taken back if it fails. @param {any} row */
  async #block(row) {
    this.#set(row.token, { blocked: true, blockedBy: undefined });
    try {
      this.#set(row.token, await this.#patch(row, { blocked: true }));
      this.note = words.isBlocked(keyName(row), session.soon);
    } catch (error) {
      this.#set(row.token, row);
      this.#failed(row, words.notBlocked(keyName(row)), error, {
        label: words.blockAgain,
        act: () => this.#block(row),
      });
    }
  }

  /** Shown when it is done, so that no key seems to work that does not. @param {any} row */
  async #unblock(row) {
    try {
      this.#set(row.token, await this.#patch(row, { blocked: false }));
      this.note = '';
    } catch (error) {
      this.#failed(row, words.notUnblocked(keyName(row)), error, {
        label: words.unblockAgain,
        act: () => this.#unblock(row),
      });
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
    confirmDeletion(
      this.userId,
      row,
      () => this.#forget(row),
      () => {
        this.#forget(row);
        notices.add({ kind: 'good', title: words.alreadyDeleted(keyName(row)) });
      },
    );
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
