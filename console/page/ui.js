// Small pieces that every view is made of.

import { html, nothing } from './lit.js';
import { text } from './text.js';
import './copy-button.js';

/** A status: a colour with a word. @param {'good' | 'warn' | 'bad' | 'plain'} kind @param {string} word */
export const pill = (kind, word, title = '') => html`<span class="pill ${kind}" title=${title}>${word}</span>`;

/** How much of a budget is spent. @param {number} spend @param {number | null} budget @param {string} label */
export function bar(spend, budget, label) {
  const percent = budget ? Math.min(100, (spend / budget) * 100) : spend > 0 && budget === 0 ? 100 : 0;
  const kind = percent >= 100 ? 'bad' : percent >= 80 ? 'warn' : '';
  return html`<div
    class="bar ${kind}"
    role="progressbar"
    aria-label=${label}
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow=${Math.round(percent)}
  >
    <svg width="100%" height="6" aria-hidden="true"><rect width="${percent}%" height="6" rx="3"></rect></svg>
  </div>`;
}

/**
 * @param {string} title what did not happen @param {any} failure an ApiError
 * @param {(() => void) | null} retry
 */
export function failed(title, failure, retry = null) {
  return html`<div class="notice bad" role="alert">
    <div><strong>${title}.</strong> ${failure.message}</div>
    ${requestId(failure)} ${retry ? html`<button type="button" @click=${retry}>${text.retry}</button>` : nothing}
  </div>`;
}

/** To quote when asking an operator. @param {any} failure an ApiError, if any */
export const requestId = failure =>
  failure?.requestId
    ? html`<div class="request-id">
        ${text.requestId} <code>${failure.requestId}</code> ${copyButton(failure.requestId, text.copyId)}
      </div>`
    : nothing;

/** Grey shapes where a card will be. @param {number} rows */
export const skeleton = (rows = 4) =>
  html`<section class="card" aria-busy="true">
    <div class="skeleton" aria-hidden="true">${Array.from({ length: rows }, () => html`<i></i>`)}</div>
  </section>`;

/** @param {string} sentence @param {unknown} action */
export const empty = (sentence, action = nothing) =>
  html`<div class="empty">
    <p>${sentence}</p>
    ${action}
  </div>`;

/** @param {string} value what it copies @param {string} label */
export const copyButton = (value, label, isPrimary = false) =>
  html`<copy-button .value=${value} .label=${label} .isPrimary=${isPrimary}></copy-button>`;

/** Saves a CSV file (RFC 4180). @param {string} name @param {unknown[][]} rows */
export function download(name, rows) {
  // A leading = + - @ would be a formula to a spreadsheet.
  const cell = (/** @type {unknown} */ value) =>
    `"${String(value ?? '')
      .replace(/^(?=[=+\-@\t\r])/, "'")
      .replaceAll('"', '""')}"`;
  const csv = rows.map(row => row.map(cell).join(',')).join('\r\n');
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([csv, '\r\n'], { type: 'text/csv' }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

/** A figure, what it is of, and what else there is to say. @param {string} label @param {unknown} figure */
export const tile = (label, figure, more = /** @type {unknown} */ (nothing), title = '') =>
  html`<div class="tile"><span>${label}</span><strong title=${title || nothing}>${figure}</strong>${more}</div>`;

/** The heads of columns, each with the class of its cells. @param {[string, string?][]} columns */
export const heads = columns =>
  columns.map(([word, kind]) => html`<th scope="col" class=${kind ?? nothing}>${word}</th>`);

/** A table as wide as there is room. @param {string} label @param {unknown} head @param {unknown} rows */
export const table = (label, head, rows) =>
  html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>
    <table>
      <thead>
        <tr>
          ${head}
        </tr>
      </thead>
      <tbody>
        ${rows}
      </tbody>
    </table>
  </div>`;

/**
 * What finds rows of a table: a search, and a choice of their status.
 *
 * @param {string} label of the search @param {string} query @param {(query: string) => void} search
 * @param {[string, string][]} statuses each with its word @param {(status: string) => void} choose told '' for any
 * @param {unknown} more filters
 */
export const rowFilters = (label, query, search, statuses, choose, more = nothing) =>
  html`<div class="tools">
    <input
      type="search"
      data-filter
      placeholder=${label}
      aria-label=${label}
      .value=${query}
      @input=${(/** @type {any} */ event) => search(event.target.value)}
    />
    ${choice(text.status, text.anyStatus, statuses, choose)} ${more}
  </div>`;

/**
 * A choice of one of some values, or of any.
 *
 * @param {string} label @param {string} any @param {[string, string][]} values each with its word
 * @param {(value: string) => void} choose told '' for any
 */
export const choice = (label, any, values, choose) =>
  html`<select aria-label=${label} @change=${(/** @type {any} */ event) => choose(event.target.value)}>
    <option value="">${any}</option>
    ${values.map(([value, word]) => html`<option value=${value}>${word}</option>`)}
  </select>`;

/** A field with its label and hint. @param {string} label @param {unknown} control @param {string} hint */
export const field = (label, control, hint = '') =>
  html`<label class="field"><span>${label}</span>${control}${hint ? html`<small>${hint}</small>` : nothing}</label>`;

/** @param {string} sentence */
export const plain = sentence => html`<div class="notice plain" role="status">${sentence}</div>`;
