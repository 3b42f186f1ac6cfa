// Creates or edits a key, and refuses early what is above the limits that apply to it.

import { html, nothing, repeat } from './lit.js';
import { amount, parsed } from './amounts.js';
import { budgetNotice } from './budget.js';
import { AMOUNTS, EditDialog } from './edit-dialog.js';
import { field } from './ui.js';
import { text } from './text.js';
import { duration, money, number } from './format.js';
import { keyName, modelFor } from './key-facts.js';

const DAY = 86400;
/** @typedef {import('./edit-dialog.js').Amount} Amount */
const LIVES = [7, 30, 90, 365];
const { fields: words } = text;
/** @type {any} */
const NEW = { models: [], max_budget: null, budget_duration: null, rpm_limit: null, tpm_limit: null, key_alias: '' };

/** Without a row it creates one. */
export class KeyForm extends EditDialog {
  /** @type {any} the keys that it stands over: what is not known there yet is shown once it is */ view = null;
  tooOften = text.dialogs.tooManyKeys;

  connectedCallback() {
    this.heading = this.row ? text.dialogs.editTitle(keyName(this.row)) : text.dialogs.create;
    this.undone = this.row ? text.keys.notChanged(keyName(this.row)) : text.keys.notCreated;
    super.connectedCallback();
  }

  get path() {
    return ['users', this.view.userId, 'keys', this.row.token];
  }

  get doing() {
    if (this.row) return super.doing;
    return this.isBusy ? text.dialogs.creating : text.dialogs.create;
  }

  get isComplete() {
    return super.isComplete && this.#tooMuch().length === 0;
  }

  /** The lowest of the limits that apply to a new value, and what it means to be above it. @param {Amount} name */
  #most(name) {
    // Those of a user are those of all their keys together.
    const [tier, own] = [this.view.limits[name] ?? Infinity, this.view.user[name] ?? Infinity];
    return own < tier ? { most: own, wrong: words.tooMuchOfOwn } : { most: tier, wrong: words.tooMuch };
  }

  /** The names of the fields above their limits. What was there before is not sent, and may stay. */
  #tooMuch() {
    return AMOUNTS.filter(name => {
      const typed = parsed(this.value(name)) ?? 0;
      return typed > this.#most(name).most && typed !== this.fieldsOf(this.row ?? NEW)[name];
    });
  }

  /** @param {Amount} name @param {number | null} value */
  #limited(name, value) {
    const { most, wrong } = this.#most(name);
    const hint = most === Infinity ? '' : words.atMost(name === 'maxBudget' ? money(most) : number(most));
    return this.amount(name, value, hint, this.#tooMuch().includes(name) ? wrong : '');
  }

  fields() {
    const row = this.row ?? NEW;
    // A key may have models that are not served any more, or not to whoever edits it: it keeps them.
    const models = [...new Set([...(this.view.models ?? []), ...row.models])];
    return html`${this.row ? nothing : budgetNotice(this.view.user, this.view.budget?.resetsAt)}
      ${this.#alias(row.key_alias ?? '')}
      <div class="pair">${this.#limited('maxBudget', row.max_budget)}${this.budgetPeriod(row.budget_duration)}</div>
      ${this.row ? nothing : this.#life()}
      <fieldset>
        <legend>${words.models}</legend>
        <div class="choices">
          ${repeat(
            models,
            model => model,
            model => this.#model(model, row.models.includes(model)),
          )}
        </div>
        <small>${this.view.models ? words.modelsHint : words.modelsMissing}</small>
      </fieldset>
      <div class="pair">${this.#limited('rpmLimit', row.rpm_limit)}${this.#limited('tpmLimit', row.tpm_limit)}</div>
      ${this.conflict()}`;
  }

  /** @param {string} value */
  #alias(value) {
    return field(
      words.alias,
      html`<input
        name="alias"
        maxlength="64"
        .defaultValue=${value}
        autofocus
        autocomplete="off"
        spellcheck="false"
      />`,
      words.aliasHint,
    );
  }

  /** @param {string} model @param {boolean} isChosen */
  #model(model, isChosen) {
    return html`<label><input type="checkbox" name="models" value=${model} ?checked=${isChosen} />${model}</label>`;
  }

  #life() {
    const most = this.view.limits.maxKeyDuration;
    const lives = LIVES.map(days => days * DAY).filter(life => most === null || most === undefined || life <= most);
    if (most && !lives.includes(most)) lives.push(most);
    const usual = most ? lives.at(-1) : '';
    return field(
      words.expires,
      html`<select name="expiresIn">
        ${most ? nothing : html`<option value="">${words.never}</option>`}
        ${lives.map(life => html`<option value=${life} ?selected=${life === usual}>${duration(life)}</option>`)}
      </select>`,
      most ? words.atMostUntil(duration(most)) : '',
    );
  }

  /** @param {any} row */
  fieldsOf(row) {
    return {
      alias: row.key_alias,
      maxBudget: row.max_budget,
      budgetDuration: row.budget_duration,
      models: row.models.toSorted(),
      rpmLimit: row.rpm_limit,
      tpmLimit: row.tpm_limit,
    };
  }

  /** @param {FormData} form */
  typed(form) {
    return {
      ...super.typed(form),
      alias: String(form.get('alias')).trim() || null,
      models: form.getAll('models').map(String).toSorted(),
    };
  }

  /** @param {FormData} form */
  async submit(form) {
    return this.row ? super.submit(form) : this.#create(form);
  }

  /** @param {FormData} form */
  async #create(form) {
    const given = Object.entries({
      ...this.typed(form),
      expiresIn: form.get('expiresIn') ? amount(form, 'expiresIn') : null,
    });
    const body = Object.fromEntries(
      given.filter(([, value]) => value !== null && !(Array.isArray(value) && value.length === 0)),
    );
    const model = modelFor(form.getAll('models').map(String), this.view.models ?? []);
    await this.api.mint(['users', this.view.userId, 'keys'], body, { alias: String(body.alias ?? ''), model });
    this.close();
    this.changed();
  }
}
customElements.define('key-form', KeyForm);
