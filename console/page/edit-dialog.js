// A dialog over what somebody else may change meanwhile: sends only what differs, and shows both sides of a conflict.

import { html, nothing } from './lit.js';
import { FormDialog } from './dialog.js';
import { field } from './ui.js';
import { text } from './text.js';

const { dialogs, fields: words } = text;

/** @typedef {Record<string, unknown>} Fields under the names of a request */

export class EditDialog extends FormDialog {
  /** @type {any} what is edited, as it was when the dialog opened */ row = null;
  /** @type {string | null} */ etag = null;
  /** @type {{row: any, etag: string | null} | null} what is edited, as somebody else left it meanwhile */ theirs =
    null;
  changed = () => {};

  /** @returns {string[]} */
  get path() {
    return [];
  }

  get doing() {
    return this.theirs ? dialogs.overwrite : text.save;
  }

  /** What a row has. @param {any} _row @returns {Fields} */
  fieldsOf(_row) {
    return {};
  }

  /** What was typed. @param {FormData} _form @returns {Fields} */
  typed(_form) {
    return {};
  }

  /** @param {FormData} form */
  async submit(form) {
    const body = differing(this.typed(form), this.fieldsOf(this.row));
    try {
      await this.api.call('PATCH', this.path, { body, ifMatch: this.theirs ? this.theirs.etag : this.etag });
    } catch (error) {
      if (/** @type {any} */ (error).status !== 412) throw error;
      const { body: row, etag } = await this.api.call('GET', this.path);
      this.theirs = { row, etag };
      return;
    }
    this.#finish();
  }

  #finish() {
    this.close();
    this.changed();
  }

  /** How often the budget resets. @param {string | null} present */
  budgetPeriod(present) {
    const known = Object.entries(words.periods);
    const all = present && !(present in words.periods) ? [...known, [present, present]] : known;
    return field(
      words.budgetDuration,
      html`<select name="budgetDuration">
        <option value="">${words.never}</option>
        ${all.map(([value, label]) => html`<option value=${value} ?selected=${value === present}>${label}</option>`)}
      </select>`,
    );
  }

  conflict() {
    if (!this.theirs) return nothing;
    const now = this.fieldsOf(this.theirs.row);
    const mine = differing(
      this.typed(new FormData(/** @type {HTMLFormElement} */ (this.querySelector('form')))),
      this.fieldsOf(this.row),
    );
    return html`<div class="notice warn" role="alert">
      <strong>${dialogs.conflictTitle}.</strong> ${dialogs.conflictLead}
      <table class="compare">
        <thead>
          <tr>
            <th></th>
            <th>${dialogs.conflictTheirs}</th>
            <th>${dialogs.conflictYours}</th>
          </tr>
        </thead>
        <tbody>
          ${Object.keys(differing(mine, now)).map(
            name =>
              html`<tr>
                <th>${words[/** @type {'alias'} */ (name)] ?? name}</th>
                <td>${shown(now[name])}</td>
                <td>${shown(mine[name])}</td>
              </tr>`,
          )}
        </tbody>
      </table>
      <button type="button" @click=${() => this.#finish()}>${dialogs.keepTheirs}</button>
    </div>`;
  }
}

/** A number of a form; null if the field is empty. @param {FormData} form @param {string} name */
export const amount = (form, name) => (form.get(name) === '' ? null : Number(form.get(name)));

/** @param {Fields} fields @param {Fields} before @returns {Fields} */
const differing = (fields, before) =>
  Object.fromEntries(
    Object.entries(fields).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])),
  );

/** @param {unknown} value */
const shown = value => (Array.isArray(value) ? value.join(', ') : String(value ?? '')) || text.none;
