// Changes the limits of a user.

import { html, nothing } from './lit.js';
import { parsed } from './amounts.js';
import { EditDialog } from './edit-dialog.js';
import { nameOf } from './format.js';
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

  get isComplete() {
    return super.isComplete && (!this.#isUnlimited || this.#isMeant);
  }

  /** Whether the user had a budget, and gets none. */
  get #isUnlimited() {
    return this.hasUpdated && this.row.maxBudget !== null && parsed(this.value('maxBudget')) === null;
  }

  get #isMeant() {
    return this.querySelector('[name=unlimited]:checked') !== null;
  }

  fields() {
    const input = (/** @type {import('./edit-dialog.js').Amount} */ name) =>
      this.amount(name, this.row[name], words.emptyIsNone);
    const ask = html`<label class="choice"><input type="checkbox" name="unlimited" /> ${text.users.unlimited}</label>`;
    return html`<div class="pair">${input('maxBudget')}${this.budgetPeriod(this.row.budgetDuration)}</div>
      ${this.#isUnlimited ? ask : nothing}
      <div class="pair">${input('rpmLimit')}${input('tpmLimit')}</div>
      ${this.conflict()}`;
  }

  /** @param {any} row */
  fieldsOf({ maxBudget, budgetDuration, rpmLimit, tpmLimit }) {
    return { maxBudget, budgetDuration, rpmLimit, tpmLimit };
  }
}
customElements.define('limits-form', LimitsForm);
