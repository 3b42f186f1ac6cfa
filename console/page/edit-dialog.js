// A dialog over what somebody else may change meanwhile: sends only what differs, and shows both sides of a conflict.

import { html, nothing } from './lit.js';
import { amount, areNumbers, parsed } from './amounts.js';
import { FormDialog } from './dialog.js';
import { money } from './format.js';
import { field } from './ui.js';
import { text } from './text.js';

const { dialogs, fields: words } = text;

export const AMOUNTS = /** @type {const} */ (['maxBudget', 'rpmLimit', 'tpmLimit']);

/** @typedef {typeof AMOUNTS[number]} Amount */
/** @typedef {Record<string, unknown>} Fields under the names of a request */

export class EditDialog extends FormDialog {
  /** @type {any} what is edited, as it was when the dialog opened */ row = null;
  /** @type {string | null} */ etag = null;
  /** @type {{row: any, etag: string | null} | null} what is edited, as somebody else left it meanwhile */ theirs =
    null;
  /** @type {string[]} the fields that both changed */ collisions = [];
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

  /** What was typed. @param {FormData} form @returns {Fields} */
  typed(form) {
    const amounts = AMOUNTS.map(name => [name, amount(form, name)]);
    return { ...Object.fromEntries(amounts), budgetDuration: form.get('budgetDuration') || null };
  }

  get isComplete() {
    return areNumbers(AMOUNTS.map(name => this.value(name)));
  }

  /** @param {FormData} form */
  async submit(form) {
    const mine = differing(this.typed(form), this.fieldsOf(this.row));
    await this.#send(mine, this.theirs ? this.theirs.etag : this.etag);
  }

  /**
   * What somebody else changed to another value waits for a decision; the rest is sent again over theirs.
   *
   * @param {Fields} mine @param {string | null} etag of what they are sent over @returns {Promise<void>}
   */
  async #send(mine, etag) {
    try {
      if (Object.keys(mine).length) await this.api.call('PATCH', this.path, { body: mine, ifMatch: etag });
    } catch (error) {
      if (/** @type {any} */ (error).status !== 412) throw error;
      const { body: row, etag: now } = await this.api.call('GET', this.path);
      const theirs = this.fieldsOf(row);
      const rest = differing(mine, theirs);
      const base = this.fieldsOf((this.theirs ?? this).row);
      this.collisions = Object.keys(differing(theirs, base)).filter(name => name in rest);
      if (!this.collisions.length) return this.#send(rest, now);
      this.theirs = { row, etag: now };
      return;
    }
    this.close();
    this.changed();
  }

  /** Theirs where both changed the same, and mine elsewhere. */
  async #keepTheirs() {
    const form = /** @type {HTMLFormElement} */ (this.querySelector('form'));
    const mine = differing(this.typed(new FormData(form)), this.fieldsOf(this.row));
    const rest = Object.fromEntries(Object.entries(mine).filter(([name]) => !this.collisions.includes(name)));
    await this.attempt(() => this.#send(rest, this.theirs?.etag ?? null));
  }

  alternative() {
    if (!this.theirs) return nothing;
    return html`<button type="button" ?disabled=${this.isBusy} @click=${() => this.#keepTheirs()}>
      ${dialogs.keepTheirs}
    </button>`;
  }

  /**
   * A field for USD, or for a whole number, that says how it is understood.
   *
   * @param {Amount} name @param {number | null} value as it was @param {string} hint
   * @param {string} wrong why it cannot be sent
   */
  amount(name, value, hint, wrong = '') {
    const isMoney = name === 'maxBudget';
    const now = parsed(this.hasUpdated ? this.value(name) : String(value ?? ''));
    const isOdd = now !== null && (Number.isNaN(now) || (!isMoney && !Number.isInteger(now)));
    const read = isMoney && now !== null && !isOdd ? money(now) : '';
    const input = html`<input
      name=${name}
      inputmode=${isMoney ? 'decimal' : 'numeric'}
      autocomplete="off"
      .defaultValue=${value ?? ''}
      aria-invalid=${isOdd || wrong !== ''}
    />`;
    return field(words[name], input, isOdd ? words.noNumber : [wrong, hint, read].filter(Boolean).join(' '));
  }

  /** How often the budget renews. To LiteLLM, 30 days are a month. @param {string | null} present */
  budgetPeriod(present) {
    const known = Object.entries(words.periods).map(([value, label]) => [
      value === '1mo' && present === '30d' ? present : value,
      label,
    ]);
    const isKnown = !present || known.some(([value]) => value === present);
    const all = isKnown ? known : [...known, [present, words.every(present)]];
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
    const before = this.fieldsOf(this.row);
    const now = this.fieldsOf(this.theirs.row);
    const mine = this.typed(new FormData(/** @type {HTMLFormElement} */ (this.querySelector('form'))));
    return html`<div class="notice warn" role="alert">
      <strong>${dialogs.conflictTitle}.</strong> ${dialogs.conflictLead}
      <table class="compare">
        <thead>
          <tr>
            <td></td>
            <th scope="col">${dialogs.conflictBefore}</th>
            <th scope="col">${dialogs.conflictTheirs}</th>
            <th scope="col">${dialogs.conflictYours}</th>
          </tr>
        </thead>
        <tbody>
          ${this.collisions.map(
            name =>
              html`<tr>
                <th scope="row">${words[/** @type {'alias'} */ (name)] ?? name}</th>
                <td>${shown(before[name])}</td>
                <td>${shown(now[name])}</td>
                <td>${shown(mine[name])}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
  }
}

/** @param {Fields} fields @param {Fields} before @returns {Fields} */
const differing = (fields, before) =>
  Object.fromEntries(
    Object.entries(fields).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])),
  );

/** @param {unknown} value */
const shown = value => (Array.isArray(value) ? value.join(', ') : String(value ?? '')) || text.none;
