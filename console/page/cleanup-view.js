// Off-boarding, for admins: the last run, a plan with reasons, and its confirmation by hash.

import { html, nothing } from './lit.js';
import { ConfirmDialog, open } from './dialog.js';
import { duration, exact, number, when } from './format.js';
import { session } from './session.js';
import { empty, pill } from './ui.js';
import { text } from './text.js';
import { COUNTDOWN, View } from './view.js';

const { cleanup: words } = text;
const POLL = 1000;
/** @type {Record<string, 'good' | 'warn' | 'bad' | 'plain'>} */
const KINDS = {
  running: 'plain',
  planned: 'plain',
  done: 'good',
  refused: 'warn',
  failed: 'bad',
  block: 'warn',
  hold: 'plain',
  delete: 'bad',
  restore: 'good',
};

class CleanupView extends View {
  /** @type {import('lit').PropertyDeclarations} */ static properties = { isBusy: { state: true } };

  heading = words.title;
  lead = words.lead;
  /** @type {any} */ status = null;
  /** @type {any} the last dry run or run that was asked for here */ report = null;
  period = COUNTDOWN;
  #timer = 0;

  constructor() {
    super();
    this.isBusy = false;
  }

  async load() {
    const status = await this.api.read(['cleanup']);
    clearTimeout(this.#timer);
    if (status.running && this.isConnected) this.#timer = window.setTimeout(() => this.reload(), POLL);
    return { status };
  }

  disconnectedCallback() {
    clearTimeout(this.#timer);
    super.disconnectedCallback();
  }

  actions() {
    return html`<button
      type="button"
      class="primary"
      ?disabled=${this.isBusy}
      @click=${() => this.#show(this.#run({ dryRun: true }))}
    >
      ${words.dryRun}
    </button>`;
  }

  content() {
    const { status } = this;
    return html`${status.enabled ? nothing : html`<div class="notice warn">${words.off}</div>`}
      <div aria-live="polite">
        ${
          this.isBusy || status.running
            ? html`<div class="notice plain">${words.running} ${this.#progress()}</div>`
            : nothing
        }
      </div>
      <section class="tiles">
        <div class="tile">
          <span>${words.last}</span><strong>${this.#last()}</strong
          ><small title=${exact(status.lastReport?.finishedAt)}
            >${status.lastReport?.finishedAt ? when(status.lastReport.finishedAt) : nothing}</small
          >
        </div>
        <div class="tile">
          <span>${words.next}</span
          ><strong title=${exact(status.nextRunAt)}>${status.nextRunAt ? when(status.nextRunAt) : '–'}</strong>
        </div>
        <div class="tile">
          <span>${words.grace}</span
          ><strong>${status.gracePeriod ? duration(status.gracePeriod) : words.noGrace}</strong>
        </div>
        <div class="tile"><span>${words.members}</span><strong>${this.#people()}</strong></div>
      </section>
      ${(this.report ?? status.lastReport) ? this.#plan(this.report ?? status.lastReport) : nothing}`;
  }

  #last() {
    const report = this.status.lastReport;
    return report ? pill(KINDS[report.outcome], words.outcomes[/** @type {'done'} */ (report.outcome)]) : words.none;
  }

  #people() {
    const { members, admins } = this.status.lastReport ?? {};
    return typeof members === 'number' ? `${number(members)} + ${number(admins ?? 0)}` : '–';
  }

  #progress() {
    const progress = (this.report ?? this.status.lastReport)?.progress;
    if (!progress?.total) return nothing;
    return html`${words.progress(progress.checked, progress.total)}
      <progress max=${progress.total} value=${progress.checked} aria-label=${words.running}></progress>`;
  }

  /** @param {any} report */
  #plan(report) {
    const { columns } = words;
    const entries = report.plan?.entries ?? [];
    const affected = entries.filter((/** @type {any} */ entry) => entry.whenConfirmed !== 'hold');
    const reason = report.reason ?? report.plan?.refusal;
    return html`<section class="card">
      <div class="tools between">
        <h2>
          ${words.planTitle} ${pill(KINDS[report.outcome], words.outcomes[/** @type {'done'} */ (report.outcome)])}
        </h2>
        ${report.outcome === 'planned' && affected.length ? this.#applyButton(report, affected) : nothing}
      </div>
      ${reason ? html`<div class="notice warn">${reason}</div>` : nothing}
      ${
        entries.length
          ? html`<div class="scroll" tabindex="0" role="region" aria-label=${words.planTitle}>
              <table>
                <thead>
                  <tr>
                    <th scope="col">${columns.user}</th>
                    <th scope="col">${columns.action}</th>
                    <th scope="col" class="wide">${columns.reason}</th>
                    <th scope="col" class="wide">${columns.since}</th>
                    <th scope="col">${columns.deletion}</th>
                    <th scope="col" class="num">${columns.keys}</th>
                  </tr>
                </thead>
                <tbody>
                  ${entries.map(
                    (/** @type {any} */ entry) =>
                      html`<tr>
                        <td><a class="name" href="#/users/${encodeURI(entry.userId)}">${entry.userId}</a></td>
                        <td>${pill(KINDS[entry.action], words.actions[/** @type {'block'} */ (entry.action)])}</td>
                        <td class="wide">${entry.reason}</td>
                        <td class="wide" title=${exact(entry.since)}>${entry.since ? when(entry.since) : '–'}</td>
                        <td>${this.#deletion(entry)}</td>
                        <td class="num">${entry.keys}</td>
                      </tr>`,
                  )}
                </tbody>
              </table>
            </div>`
          : empty(words.nothing)
      }
    </section>`;
  }

  /** @param {any} report @param {any[]} affected */
  #applyButton(report, affected) {
    const label = words.apply(affected.length);
    return html`<button type="button" class="dangerous" @click=${() => this.#confirm(report, affected)}>
      ${label}
    </button>`;
  }

  /** When the user is deleted, by what is set now. @param {any} entry */
  #deletion({ action, whenConfirmed, since }) {
    const { gracePeriod } = this.status;
    if (action === 'delete') return words.now;
    if (action === 'restore') return '–';
    if (action !== whenConfirmed) return words.onceConfirmed;
    if (!since) return gracePeriod ? words.after(duration(gracePeriod)) : words.nextRun;
    const end = Date.parse(since) + gracePeriod * 1000;
    return end > Date.now()
      ? html`<span title=${exact(new Date(end).toISOString())}>${when(new Date(end).toISOString())}</span>`
      : words.nextRun;
  }

  /** @param {any} report @param {any[]} affected those for whom something happens once this is confirmed */
  #confirm(report, affected) {
    open(new ConfirmDialog(), {
      heading: words.apply(affected.length),
      lead: `${words.effect(session.soon)} ${affected
        .map(entry => `${entry.userId}: ${words.actions[/** @type {'block'} */ (entry.whenConfirmed)]}`)
        .slice(0, 20)
        .join('. ')}`,
      word: String(affected.length),
      undone: words.notApplied,
      button: words.apply(affected.length),
      act: async () => {
        const answer = this.#run({ dryRun: false, planHash: report.plan.hash });
        await answer;
        this.#show(answer);
      },
    });
  }

  /** @param {{dryRun: boolean, planHash?: string}} body */
  #run(body) {
    return this.api.call('POST', ['cleanup'], { body });
  }

  /**
   * Shows the report of a run, and follows one that takes long.
   *
   * @param {ReturnType<import('./api.js').Api['call']>} answer
   */
  async #show(answer) {
    this.isBusy = true;
    try {
      const { status, body } = await answer;
      this.report = status === 202 ? await this.#followed(body.runId) : body;
      await this.reload();
    } catch (error) {
      this.failed(words.notPlanned, error, { label: words.dryRun, act: () => this.#show(this.#run({ dryRun: true })) });
    } finally {
      this.isBusy = false;
    }
  }

  /** @param {number} runId */
  async #followed(runId) {
    for (;;) {
      this.report = await this.api.read(['cleanup', 'runs', String(runId)]);
      if (this.report.outcome !== 'running' || !this.isConnected) return this.report;
      this.requestUpdate();
      await new Promise(resolve => setTimeout(resolve, POLL));
    }
  }
}
customElements.define('cleanup-view', CleanupView);
