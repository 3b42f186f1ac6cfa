// The keys of a user: the table, and everything that can be done to a key.

import { html, nothing } from './lit.js';
import { open } from './dialog.js';
import { confirmDeletion } from './key-delete.js';
import { KeyForm } from './key-form.js';
import { KeyReport } from './key-report.js';
import { KeyRotate } from './key-rotate.js';
import { mayTransfer, transferKey } from './key-transfer.js';
import { showVersions } from './key-versions.js';
import { keyTiles } from './key-tiles.js';
import { budgetNotice, limitsOf } from './budget.js';
import { isOver, isShort, keyName, mayRotate, mayUnblock, takesRoom } from './key-facts.js';
import { showMenu } from './menu.js';
import { notices } from './notices.js';
import { may, session } from './session.js';
import { OwnedView, REFUSALS } from './owned-view.js';
import { owners } from './owners.js';
import { empty, plain } from './ui.js';
import { text } from './text.js';
import { COUNTDOWN } from './view.js';
import './keys-table.js';

const { dialogs, keys: words } = text;

class KeysView extends OwnedView {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    note: { state: true },
  };

  heading = words.title;
  lead = words.lead;
  /** The key that is looked for, if any. */
  keyId = '';
  /** @type {any} */ me = null;
  /** @type {any[]} */ rows = [];
  /** @type {any} */ user = null;
  /** @type {any} */ budget = null;
  /** @type {string[] | null} those that are served, if that is known */ models = null;
  period = COUNTDOWN;
  /** @type {import('./dialog.js').FormDialog | null} that stands over the keys, and follows them */ #dialog = null;

  constructor() {
    super();
    this.note = '';
  }

  async load() {
    // The user first: asking for it creates the user of a member who is here for the first time.
    const user = await this.#readUser();
    this.loadPart('models', async () =>
      (await this.api.read(['models'])).models.map((/** @type {any} */ model) => model.id),
    );
    if (user.isNew) return { user, rows: [] };
    this.#loadBudget();
    const { keys } = await this.api.read(['users', this.userId, 'keys']);
    const isOwnerOver = isOver(user.spend, user.maxBudget);
    return { user, rows: keys.map((/** @type {any} */ key) => ({ ...key, isOwnerOver })) };
  }

  /** LiteLLM gets a group or component with its first key: until then, with the limits that it will have. */
  #readUser() {
    return owners.read(
      this.userId,
      () => this.api.read(['users', this.userId]),
      owner => ({ ...owner, spend: 0, isNew: true }),
    );
  }

  #loadBudget() {
    this.loadPart('budget', async () => (await this.api.read(['users', this.userId, 'usage'])).budget);
  }

  /** `TierLimits`, as far as they are known here. @returns {any} */
  get limits() {
    if (this.isOwn) return this.me.limits;
    const { limits = {} } = owners.find(this.userId) ?? {};
    // An admin may exceed another's tier, but for the number of keys.
    return may(this.me, 'keys.create') ? { maxKeys: limits.maxKeys } : limits;
  }

  /** The number of keys that the tier's limit is about. */
  get #count() {
    return this.rows.filter(row => takesRoom(row)).length;
  }

  get #isFull() {
    return this.#count >= (this.limits.maxKeys ?? Infinity);
  }

  /** '' is the person who is signed in. */
  get #whose() {
    return this.isOwn ? '' : owners.titleOf(this.userId);
  }

  get #mayCreate() {
    return may(this.me, 'keys.create', this.userId);
  }

  actions() {
    return html`<button type="button" @click=${() => this.#report()}>${words.report}</button>
      ${this.#mayCreate ? this.#createButton() : nothing}`;
  }

  #createButton() {
    const { maxKeys } = this.limits;
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
      ${this.#isFull ? html`<small id="full">${words.full(this.#whose, this.#count, maxKeys)}</small>` : nothing}`;
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
    return html`<keys-table .rows=${this.rows} .keyId=${this.keyId} .menu=${this.#menu.bind(this)}></keys-table>`;
  }

  #empty() {
    const button = html`<button type="button" @click=${() => this.create()}>${words.create}</button>`;
    const sentence = this.user.isNew ? words.emptyOf(this.#whose, limitsOf(this.user)) : words.empty;
    return html`<section class="card">${empty(sentence, this.#mayCreate ? button : nothing)}</section>`;
  }

  #tiles() {
    const tier = this.isOwn ? this.me.tier : this.user.tier;
    const most = this.limits.maxKeys;
    const { user, budget } = this;
    const count = most ? this.#count : this.rows.filter(row => !isShort(row)).length;
    return keyTiles({ user, budget, missing: this.missing.budget, count, most, tier }, () => this.#loadBudget());
  }

  updated() {
    this.#dialog?.requestUpdate();
  }

  /** @param {KeyForm | KeyRotate} dialog @param {Partial<KeyForm & KeyRotate>} properties */
  #open(dialog, properties) {
    this.#dialog = open(dialog, { view: this, ...properties });
  }

  /** @param {MouseEvent} event @param {any} row */
  #menu(event, row) {
    const versions = { label: dialogs.versions, act: () => showVersions(this.userId, row) };
    const changes = may(this.me, 'keys.update', this.userId) ? this.#changesOf(row) : [];
    showMenu(event, keyName(row), changes.toSpliced(-1, 0, versions));
  }

  /** @param {any} row */
  #changesOf(row) {
    const blocking = row.blocked
      ? { label: dialogs.unblock, act: () => this.#unblock(row) }
      : { label: dialogs.block, act: () => this.#block(row) };
    const after = { changed: () => this.#saved(), gone: () => this.#gone(row) };
    const rotate = { label: dialogs.rotate, act: () => this.#open(new KeyRotate(), { key: row, ...after }) };
    const transfer = {
      label: dialogs.transfer,
      act: () => transferKey(this, row, () => this.#forget(row), after.gone),
    };
    const changes = [
      { label: dialogs.edit, act: () => this.#edit(row) },
      ...(mayRotate(row) ? [rotate] : []),
      ...(mayTransfer(this.me, this.userId, row) ? [transfer] : []),
    ];
    return [
      ...(isShort(row) ? [] : changes),
      ...(row.blocked && !mayUnblock(row, may(this.me, 'keys.unblock')) ? [] : [blocking]),
      { label: dialogs.remove, danger: true, act: () => this.#remove(row) },
    ];
  }

  create() {
    if (this.isLoaded && !this.#isFull && this.#mayCreate) this.#open(new KeyForm(), { changed: () => this.#saved() });
  }

  /** @param {any} row */
  #edit(row) {
    this.#attempt(row, words.notRead(keyName(row)), words.editAgain, async () => {
      const { body, etag } = await this.api.call('GET', this.#pathOf(row));
      // Another owner's keys may be here by now.
      if (!this.isConnected) return;
      this.#open(new KeyForm(), { row: body, etag, changed: () => this.reload(), gone: () => this.#gone(row) });
    });
  }

  /**
   * Does something with a key. If it fails, another try is offered where it may help.
   *
   * @param {any} row @param {string} title what did not happen @param {string} label of another try
   * @param {() => Promise<void>} act
   */
  async #attempt(row, title, label, act) {
    try {
      await act();
    } catch (failure) {
      const { status } = /** @type {import('./http.js').ApiError} */ (failure);
      const again = { label, act: () => this.#attempt(row, title, label, act) };
      if (status === 404) this.#gone(row);
      else this.failed(title, failure, REFUSALS.includes(status) ? null : again);
    }
  }

  /** Somebody else, or another tab, has deleted a key. @param {any} row @param {string} title */
  #gone(row, title = words.gone(keyName(row))) {
    this.#forget(row);
    notices.add({ kind: 'good', title });
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
  #block(row) {
    this.#attempt(row, words.notBlocked(keyName(row)), words.blockAgain, async () => {
      this.#set(row.token, { blocked: true, blockedBy: undefined });
      try {
        await this.#patch(row, { blocked: true });
      } catch (failure) {
        this.#set(row.token, row);
        throw failure;
      }
      this.note = words.isBlocked(keyName(row), session.soon);
    });
  }

  /** Shown when it is done, so that no key seems to work that does not. @param {any} row */
  #unblock(row) {
    this.#attempt(row, words.notUnblocked(keyName(row)), words.unblockAgain, async () => {
      await this.#patch(row, { blocked: false });
      this.note = '';
    });
  }

  /** @param {any} row @param {object} body */
  async #patch(row, body) {
    this.#set(row.token, (await this.api.call('PATCH', this.#pathOf(row), { body })).body);
  }

  /** @param {any} row */
  #pathOf(row) {
    return ['users', this.userId, 'keys', row.token];
  }

  /** The rows may have been read again meanwhile. @param {string} token @param {object} fields */
  #set(token, fields) {
    this.rows = this.rows.map(row => (row.token === token ? { ...row, ...fields } : row));
    this.requestUpdate();
  }

  /** @param {any} row */
  #remove(row) {
    const alreadyDeleted = () => this.#gone(row, words.alreadyDeleted(keyName(row)));
    confirmDeletion(this.userId, row, () => this.#forget(row), alreadyDeleted);
  }

  #report() {
    open(new KeyReport(), { reported: () => ((this.note = dialogs.reported), this.reload()) });
  }

  #saved() {
    this.note = '';
    this.reload();
  }
}
customElements.define('keys-view', KeysView);
