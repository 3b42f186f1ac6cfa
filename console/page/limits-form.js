// Changes the limits of a user.

import { html } from './lit.js';
import { EditDialog, amount } from './edit-dialog.js';
import { nameOf } from './format.js';
import { field } from './ui.js';
import { text } from './text.js';

const { fields: words } = text;

export class LimitsForm extends EditDialog {
  connectedCallback() {
    this.heading = text.users.editTitle(nameOf(this.row.userId));
    this.undone = text.users.notChanged(nameOf(this.row.userId));
    super.connectedCallback();
  }

  get path() {
    return ['users', this.row.userId];
  }

  fields() {
    const input = (/** @type {'maxBudget' | 'rpmLimit' | 'tpmLimit'} */ name, step = '1') =>
      field(
        words[name],
        html`<input name=${name} type="number" min="0" step=${step} .defaultValue=${this.row[name] ?? ''} />`,
      );
    return html`<div class="pair">${input('maxBudget', '0.01')}${this.budgetPeriod(this.row.budgetDuration)}</div>
      <div class="pair">${input('rpmLimit')}${input('tpmLimit')}</div>
      ${this.conflict()}`;
  }

  /** @param {any} row */
  fieldsOf({ maxBudget, budgetDuration, rpmLimit, tpmLimit }) {
    return { maxBudget, budgetDuration, rpmLimit, tpmLimit };
  }

  /** @param {FormData} form */
  typed(form) {
    return {
      maxBudget: amount(form, 'maxBudget'),
      budgetDuration: form.get('budgetDuration') || null,
      rpmLimit: amount(form, 'rpmLimit'),
      tpmLimit: amount(form, 'tpmLimit'),
    };
  }
}
customElements.define('limits-form', LimitsForm);
