// Creates or edits a key, and refuses early what the tier would refuse.

import { html, nothing } from './lit.js';
import { call } from './api.js';
import { FormDialog } from './dialog.js';
import { field, randomId } from './ui.js';
import { text } from './text.js';
import { duration, money } from './format.js';
import { keyName } from './key-facts.js';

const DAY = 86400;
const LIVES = [7, 30, 90, 365];
const { fields: words } = text;
/** @type {any} */
const NEW = { models: [], max_budget: null, budget_duration: null, rpm_limit: null, tpm_limit: null, key_alias: '' };

export class KeyForm extends FormDialog {
  userId = '';
  /** @type {any} the key, or null for a new one */ key = null;
  /** @type {string | null} */ etag = null;
  /** @type {any} TierLimits */ limits = {};
  /** @type {string[]} */ models = [];
  /** @type {(result: any, alias: string) => void} */ saved = () => {};
  /** @type {any} the key as somebody else left it meanwhile */ theirs = null;
  #attempt = { body: '', id: '' };

  get doing() {
    if (this.theirs) return text.dialogs.overwrite;
    if (this.key) return text.save;
    return this.isBusy ? text.dialogs.creating : text.dialogs.create;
  }

  get isComplete() {
    return this.#tooMuch().length === 0;
  }

  connectedCallback() {
    this.heading = this.key ? text.dialogs.editTitle(keyName(this.key)) : text.dialogs.create;
    super.connectedCallback();
  }

  /** The names of the fields above the tier's limits. */
  #tooMuch() {
    const limit = { maxBudget: this.limits.maxBudget, rpmLimit: this.limits.rpmLimit, tpmLimit: this.limits.tpmLimit };
    return Object.entries(limit).filter(([name, most]) => most !== null && most !== undefined && Number(this.value(name)) > most).map(([name]) => name);
  }

  /** @param {string} name @param {number | null} value @param {number | null} most @param {string} step */
  #amount(name, value, most, step) {
    const isTooMuch = this.#tooMuch().includes(name);
    const input = html`<input name=${name} type="number" min="0" step=${step} .defaultValue=${value ?? ''} aria-invalid=${isTooMuch}>`;
    const limit = most === null || most === undefined ? '' : words.atMost(name === 'maxBudget' ? money(most) : String(most));
    return field(words[/** @type {'maxBudget'} */ (name)], input, isTooMuch ? `${words.tooMuch} ${limit}` : limit);
  }

  fields() {
    const key = this.key ?? NEW;
    return html`
      ${field(words.alias, html`<input name="alias" maxlength="64" .defaultValue=${key.key_alias ?? ''} autofocus autocomplete="off" spellcheck="false">`, words.aliasHint)}
      <div class="pair">
        ${this.#amount('maxBudget', key.max_budget, this.limits.maxBudget, '0.01')}
        ${field(words.budgetDuration, html`<select name="budgetDuration"><option value="">${words.never}</option>
          ${this.#periods(key.budget_duration).map(([value, label]) => html`<option value=${value} ?selected=${value === key.budget_duration}>${label}</option>`)}</select>`)}
      </div>
      ${this.key ? nothing : this.#life()}
      <fieldset><legend>${words.models}</legend>
        <div class="choices">${this.models.map(model => html`<label><input type="checkbox" name="models" value=${model} ?checked=${key.models.includes(model)}>${model}</label>`)}</div>
        <small>${words.modelsHint}</small></fieldset>
      <div class="pair">
        ${this.#amount('rpmLimit', key.rpm_limit, this.limits.rpmLimit, '1')}
        ${this.#amount('tpmLimit', key.tpm_limit, this.limits.tpmLimit, '1')}
      </div>
      ${this.theirs ? this.#conflict() : nothing}`;
  }

  /** @param {string | null} present */
  #periods(present) {
    const known = Object.entries(words.periods);
    return present && !(present in words.periods) ? [...known, [present, present]] : known;
  }

  #life() {
    const most = this.limits.maxKeyDuration;
    const lives = LIVES.map(days => days * DAY).filter(life => most === null || most === undefined || life <= most);
    if (most && !lives.includes(most)) lives.push(most);
    const usual = most ? lives.at(-1) : '';
    return field(words.expires, html`<select name="expiresIn">${most ? nothing : html`<option value="">${words.never}</option>`}
      ${lives.map(life => html`<option value=${life} ?selected=${life === usual}>${duration(life)}</option>`)}</select>`, most ? words.atMostUntil(duration(most)) : '');
  }

  #conflict() {
    const now = /** @type {Record<string, unknown>} */ (fieldsOf(this.theirs));
    const mine = this.#body(new FormData(/** @type {HTMLFormElement} */ (this.querySelector('form'))));
    const differing = Object.keys(mine).filter(name => JSON.stringify(mine[name]) !== JSON.stringify(now[name]));
    return html`<div class="notice warn" role="alert"><strong>${text.dialogs.conflictTitle}.</strong> ${text.dialogs.conflictLead}
      <table class="compare"><thead><tr><th></th><th>${text.dialogs.conflictTheirs}</th><th>${text.dialogs.conflictYours}</th></tr></thead>
      <tbody>${differing.map(name => html`<tr><th>${words[/** @type {'alias'} */ (name)] ?? name}</th><td>${shown(now[name])}</td><td>${shown(mine[name])}</td></tr>`)}</tbody></table>
      <button type="button" @click=${() => this.#keepTheirs()}>${text.dialogs.keepTheirs}</button></div>`;
  }

  #keepTheirs() {
    this.close();
    this.saved(null, '');
  }

  /** @param {FormData} form @returns {Record<string, unknown>} */
  #body(form) {
    const amount = (/** @type {string} */ name) => (form.get(name) === '' ? null : Number(form.get(name)));
    const wanted = {
      alias: String(form.get('alias')).trim() || null,
      maxBudget: amount('maxBudget'),
      budgetDuration: form.get('budgetDuration') || null,
      models: form.getAll('models').map(String),
      rpmLimit: amount('rpmLimit'),
      tpmLimit: amount('tpmLimit'),
    };
    if (this.key) {
      const before = /** @type {Record<string, unknown>} */ (fieldsOf(this.key));
      return Object.fromEntries(Object.entries(wanted).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])));
    }
    const given = Object.entries({ ...wanted, expiresIn: form.get('expiresIn') ? amount('expiresIn') : null });
    return Object.fromEntries(given.filter(([, value]) => value !== null && !(Array.isArray(value) && value.length === 0)));
  }

  /** @param {FormData} form */
  async submit(form) {
    const body = this.#body(form);
    const path = ['users', this.userId, 'keys'];
    if (!this.key) {
      // A second try of the same request makes no second key; a changed request is another one.
      const sent = JSON.stringify(body);
      if (this.#attempt.body !== sent) this.#attempt = { body: sent, id: randomId() };
      const created = (await call('POST', path, { body, idempotencyKey: this.#attempt.id })).body;
      this.close();
      this.saved(created, String(body.alias ?? ''));
      return;
    }
    try {
      const changed = (await call('PATCH', [...path, this.key.token], { body, ifMatch: this.theirs?.etag ?? this.etag })).body;
      this.close();
      this.saved(changed, '');
    } catch (error) {
      if (/** @type {any} */ (error).status !== 412) throw error;
      const { body: row, etag } = await call('GET', [...path, this.key.token]);
      this.theirs = { ...row, etag };
    }
  }
}
customElements.define('key-form', KeyForm);

/** The fields of a row under the names of a request. @param {any} key */
const fieldsOf = key => ({
  alias: key.key_alias,
  maxBudget: key.max_budget,
  budgetDuration: key.budget_duration,
  models: key.models,
  rpmLimit: key.rpm_limit,
  tpmLimit: key.tpm_limit,
});

/** @param {unknown} value */
const shown = value => (Array.isArray(value) ? value.join(', ') : value) || text.none;
