// One user, for admins: limits, off-boarding, keys and spending.

import { html } from './lit.js';
import { call } from './api.js';
import { ConfirmDialog, FormDialog, open } from './dialog.js';
import { money, nameOf } from './format.js';
import { field } from './ui.js';
import { text } from './text.js';
import { View } from './view.js';
import './keys-view.js';
import './spending-view.js';

const { users: words } = text;

class UserView extends View {
  userId = '';
  /** @type {any} */ me = null;
  /** @type {any} */ user = null;
  /** @type {string | null} */ etag = null;

  async load() {
    ({ body: this.user, etag: this.etag } = await call('GET', ['users', this.userId]));
  }

  connectedCallback() {
    this.heading = nameOf(this.userId);
    this.lead = this.userId;
    super.connectedCallback();
  }

  actions() {
    return html`<a class="button" href="#/users">${words.back}</a>
      <button type="button" @click=${() => this.#edit()}>${words.editBudget}</button>
      <button type="button" class="dangerous" @click=${() => this.#offboard()}>${words.offboard}</button>`;
  }

  content() {
    return html`<div class="nested"><keys-view .userId=${this.userId} .me=${this.me} .heading=${text.keys.title} .lead=${text.keys.leadOf(nameOf(this.userId))}></keys-view>
      <spending-view .userId=${this.userId}></spending-view></div>`;
  }

  #edit() {
    const dialog = open(new LimitsForm(), { user: this.user, etag: this.etag });
    dialog.saved = () => this.#show();
  }

  /** Anew, with what is below. */
  async #show() {
    await this.reload();
    for (const view of this.querySelectorAll('keys-view, spending-view')) /** @type {View} */ (view).reload();
  }

  async #offboard() {
    try {
      const { body } = await call('GET', ['users', this.userId, 'keys']);
      const name = nameOf(this.userId);
      open(new ConfirmDialog(), {
        heading: words.offboardTitle(name),
        lead: words.offboardLead(body.keys.length, money(this.user.spend)),
        word: name,
        button: words.offboardButton(name),
        act: async () => {
          await call('DELETE', ['users', this.userId]);
          location.hash = '#/users';
        },
      });
    } catch (error) {
      this.failure = error;
    }
  }
}
customElements.define('user-view', UserView);

/** Changes the limits of a user, or the spend of this period to zero. */
class LimitsForm extends FormDialog {
  /** @type {any} */ user = null;
  /** @type {string | null} */ etag = null;
  saved = () => {};

  connectedCallback() {
    this.heading = words.editTitle(nameOf(this.user.userId));
    super.connectedCallback();
  }

  fields() {
    const amount = (/** @type {string} */ name, step = '1') =>
      field(text.fields[/** @type {'maxBudget'} */ (name)], html`<input name=${name} type="number" min="0" step=${step} .defaultValue=${this.user[name] ?? ''}>`, '');
    const periods = Object.entries({ ...text.fields.periods, ...(this.user.budgetDuration && !(this.user.budgetDuration in text.fields.periods) ? { [this.user.budgetDuration]: this.user.budgetDuration } : {}) });
    return html`<div class="pair">${amount('maxBudget', '0.01')}
        ${field(text.fields.budgetDuration, html`<select name="budgetDuration"><option value="">${text.fields.never}</option>
          ${periods.map(([value, label]) => html`<option value=${value} ?selected=${value === this.user.budgetDuration}>${label}</option>`)}</select>`)}</div>
      <div class="pair">${amount('rpmLimit')}${amount('tpmLimit')}</div>
      <label class="check"><input type="checkbox" name="reset">${words.resetSpend}</label>`;
  }

  /** @param {FormData} form */
  async submit(form) {
    const amount = (/** @type {string} */ name) => (form.get(name) === '' ? null : Number(form.get(name)));
    const wanted = { maxBudget: amount('maxBudget'), budgetDuration: form.get('budgetDuration') || null, rpmLimit: amount('rpmLimit'), tpmLimit: amount('tpmLimit') };
    const changed = Object.fromEntries(Object.entries(wanted).filter(([name, value]) => value !== this.user[name]));
    const body = form.get('reset') ? { ...changed, spend: 0 } : changed;
    try {
      await call('PATCH', ['users', this.user.userId], { body, ifMatch: this.etag });
    } catch (error) {
      if (/** @type {any} */ (error).status === 412) ({ body: this.user, etag: this.etag } = await call('GET', ['users', this.user.userId]));
      throw error;
    }
    this.close();
    this.saved();
  }
}
customElements.define('limits-form', LimitsForm);
