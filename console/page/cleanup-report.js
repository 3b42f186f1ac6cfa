// What a run of the off-boarding did, or what a preview says that it would do, with what an admin should look at.

import { html, nothing } from './lit.js';
import { PageElement } from './element.js';
import { duration, exact, when } from './format.js';
import { hrefOf } from './route.js';
import { empty, heads, pill, table } from './ui.js';
import { text } from './text.js';

const { cleanup: words } = text;
/** @type {Record<string, 'good' | 'warn' | 'bad' | 'plain'>} */
const KINDS = { block: 'warn', hold: 'plain', delete: 'bad', restore: 'good', failed: 'bad' };
/** What was done, by the name of its list in `CleanupResult`. */
const DONE = /** @type {const} */ ({ deleted: 'delete', blocked: 'block', held: 'hold', restored: 'restore' });

class CleanupReport extends PageElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = { report: {}, heading: {}, gracePeriod: {} };

  /** Carries a plan out, if that is allowed. @type {((affected: any[]) => void) | null} */ apply = null;

  constructor() {
    super();
    /** @type {any} */ this.report = null;
    /** @type {unknown} */ this.heading = '';
    /** @type {number | null} in seconds */ this.gracePeriod = null;
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
    const head = heads([
      [columns.user],
      [this.#isPreview ? columns.action : columns.done],
      [columns.reason, 'if-3'],
      [columns.since, 'if-2'],
      [columns.deletion],
      [columns.keys, 'num'],
    ]);
    const rows = this.#entries.map(entry => this.#row(entry));
    return table(words.planTitle, head, rows);
  }

  /** @param {any} entry */
  #row(entry) {
    return html`<tr>
      <td class="first"><a class="name" href=${hrefOf(entry.userId)}>${entry.userId}</a></td>
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
