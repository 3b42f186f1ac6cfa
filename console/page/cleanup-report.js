// What a run of the off-boarding did, or what a preview says that it would do, with what an admin should look at.

import { LitElement, html, nothing } from './lit.js';
import { duration, exact, when } from './format.js';
import { empty, pill } from './ui.js';
import { text } from './text.js';

const { cleanup: words } = text;
/** @type {Record<string, 'good' | 'warn' | 'bad' | 'plain'>} */
const KINDS = { block: 'warn', hold: 'plain', delete: 'bad', restore: 'good', failed: 'bad' };
/** What was done, by the name of its list in `CleanupResult`. */
const DONE = /** @type {const} */ ({ deleted: 'delete', blocked: 'block', held: 'hold', restored: 'restore' });

class CleanupReport extends LitElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = { report: {}, heading: {}, gracePeriod: {} };

  /** Carries a plan out, if that is allowed. @type {((affected: any[]) => void) | null} */ apply = null;

  constructor() {
    super();
    /** @type {any} */ this.report = null;
    /** @type {unknown} */ this.heading = '';
    /** @type {number | null} in seconds */ this.gracePeriod = null;
  }

  createRenderRoot() {
    return this;
  }

  get #isPreview() {
    return this.report.outcome === 'planned';
  }

  /** @returns {any[]} */
  get #entries() {
    return this.report.plan?.entries ?? [];
  }

  /** Those for whom something happens once this is confirmed. */
  get #affected() {
    return this.#entries.filter(entry => entry.whenConfirmed !== 'hold');
  }

  render() {
    const reason = this.report.reason ?? this.report.plan?.refusal;
    return html`<section class="card">
        <div class="tools between">
          <h2>${this.heading}</h2>
          ${this.apply && this.#isPreview && this.#affected.length ? this.#applyButton() : nothing}
        </div>
        ${reason ? html`<div class="notice warn">${reason}</div>` : nothing}
        ${this.#entries.length ? this.#table() : empty(this.#isPreview ? words.nothing : words.nobody)}
      </section>
      ${this.report.findings?.length ? this.#findings() : nothing}`;
  }

  #applyButton() {
    return html`<button type="button" class="dangerous" @click=${() => this.apply?.(this.#affected)}>
      ${words.apply(this.#affected.length)}
    </button>`;
  }

  #table() {
    const { columns } = words;
    return html`<div class="scroll" tabindex="0" role="region" aria-label=${words.planTitle}>
      <table>
        <thead>
          <tr>
            <th scope="col">${columns.user}</th>
            <th scope="col">${this.#isPreview ? columns.action : columns.done}</th>
            <th scope="col" class="if-3">${columns.reason}</th>
            <th scope="col" class="if-2">${columns.since}</th>
            <th scope="col">${columns.deletion}</th>
            <th scope="col" class="num">${columns.keys}</th>
          </tr>
        </thead>
        <tbody>
          ${this.#entries.map(entry => this.#row(entry))}
        </tbody>
      </table>
    </div>`;
  }

  /** @param {any} entry */
  #row(entry) {
    return html`<tr>
      <td class="first"><a class="name" href="#/users/${encodeURI(entry.userId)}">${entry.userId}</a></td>
      <td class="state">${this.#isPreview ? action(entry.action) : this.#done(entry)}</td>
      <td class="if-3 long">${entry.reason}</td>
      <td class="if-2 ${entry.since ? '' : 'nothing'}" data-label=${words.gone} title=${exact(entry.since)}>
        ${entry.since ? when(entry.since) : '–'}
      </td>
      <td data-label=${words.columns.deletion}>${this.#deletion(entry)}</td>
      <td class="num" data-label=${words.columns.keys}>${entry.keys ?? '–'}</td>
    </tr>`;
  }

  /** In the past tense. @param {any} entry */
  #done({ userId }) {
    const { done } = this.report;
    const failure = done?.failed.find((/** @type {any} */ one) => one.userId === userId);
    if (failure) return pill('bad', words.failedFor, failure.error);
    const name = /** @type {(keyof typeof DONE)[]} */ (Object.keys(DONE)).find(list => done?.[list].includes(userId));
    return name ? pill(KINDS[DONE[name]], words.did[DONE[name]]) : pill('plain', words.did.none);
  }

  /** When the user is deleted. @param {any} entry */
  #deletion({ userId, action: does, whenConfirmed, since, until }) {
    if (!this.#isPreview && this.report.done?.deleted.includes(userId)) return words.did.now;
    if (does === 'delete') return words.now;
    if (does === 'restore') return '–';
    if (does !== whenConfirmed) return words.onceConfirmed;
    if (!since || !until) return this.gracePeriod ? words.after(duration(this.gracePeriod)) : words.nextRun;
    return Date.parse(until) > Date.now() ? html`<span title=${exact(until)}>${when(until)}</span>` : words.nextRun;
  }

  #findings() {
    return html`<section class="card findings">
      <div class="tools"><h2>${words.findingsTitle}</h2></div>
      <ul>
        ${this.report.findings.map(
          (/** @type {any} */ finding) =>
            html`<li>
              <strong>${words.findings[finding.kind] ?? finding.kind}</strong> <code>${finding.userId}</code>
              <p>${finding.message}</p>
            </li>`,
        )}
      </ul>
    </section>`;
  }
}
customElements.define('cleanup-report', CleanupReport);

/** @param {string} name */
const action = name => pill(KINDS[name] ?? 'plain', words.actions[/** @type {'block'} */ (name)] ?? name);
