// Off-boarding, for admins: the last run, the next one, and a preview that can be carried out by its hash.

import { html, nothing } from './lit.js';
import { ConfirmDialog, open } from './dialog.js';
import { duration, exact, moment, number, when } from './format.js';
import { may, session } from './session.js';
import { pill, tile } from './ui.js';
import { text } from './text.js';
import { COUNTDOWN, View } from './view.js';
import './cleanup-report.js';

const { cleanup: words } = text;
const POLL = 1000;
/** How many previews in a row are skipped to find the last run. */
const PREVIEWS = 10;
/** @type {Record<string, 'good' | 'warn' | 'bad' | 'plain'>} */
const KINDS = { running: 'plain', planned: 'plain', done: 'good', refused: 'warn', failed: 'bad' };

/** @typedef {any} Report `CleanupReport` of the contract */

/** @param {Report} report */
const outcome = report => pill(KINDS[report.outcome], words.outcomes[/** @type {'done'} */ (report.outcome)]);

class CleanupView extends View {
  /** @type {import('lit').PropertyDeclarations} */ static properties = { isBusy: { state: true } };

  heading = words.title;
  lead = words.lead;
  /** @type {any} */ me = null;
  /** @type {any} */ status = null;
  /** @type {Report | null} the newest that is no preview */ run = null;
  /** @type {Report | null} the newest, unless a run has happened since */ preview = null;
  /** @type {Report | null} what was asked for here, while it is done */ current = null;
  period = COUNTDOWN;
  #timer = 0;

  constructor() {
    super();
    this.isBusy = false;
  }

  async load() {
    const status = await this.api.read(['cleanup']);
    const last = status.lastReport;
    const run = await this.#lastRun(last);
    clearTimeout(this.#timer);
    if (status.running && this.isConnected) this.#timer = window.setTimeout(() => this.reload(), POLL);
    const isOld = run && this.preview?.runId < run.runId;
    return { status, run, preview: last?.dryRun ? last : isOld ? null : this.preview };
  }

  /** A preview stands before the run in the list, and does not undo it. @param {Report | null} last */
  async #lastRun(last) {
    let report = last;
    for (let skipped = 0; report?.dryRun && skipped < PREVIEWS; skipped += 1) {
      if (this.run && report.runId - 1 === this.run.runId) return this.run;
      if (report.runId <= 1) return null;
      report = await this.api.read(['cleanup', 'runs', String(report.runId - 1)]).catch(() => null);
    }
    return report?.dryRun ? this.run : report;
  }

  /** What is due has happened, or is about to: what is known here is old. */
  tick() {
    if (this.#isDue && !this.isBusy) this.reload();
    else super.tick();
  }

  get #isDue() {
    return Boolean(this.status?.nextRunAt) && Date.parse(this.status.nextRunAt) <= Date.now();
  }

  disconnectedCallback() {
    clearTimeout(this.#timer);
    super.disconnectedCallback();
  }

  actions() {
    return html`<button type="button" class="primary" ?disabled=${this.isBusy} @click=${() => this.#makePreview()}>
      ${words.dryRun}
    </button>`;
  }

  content() {
    const { status, run, preview } = this;
    const busy = html`<div class="notice plain">${words.running} ${this.#progress()}</div>`;
    return html`${status.enabled ? nothing : html`<div class="notice warn">${words.off}</div>`}
      <div aria-live="polite">${this.isBusy || status.running ? busy : nothing}</div>
      ${this.#tiles()} ${preview ? this.#report(preview, words.preview(moment(preview.startedAt))) : nothing}
      ${run ? this.#report(run, words.ran(moment(run.startedAt))) : nothing}`;
  }

  #tiles() {
    const { status, run } = this;
    const orphans = (this.preview ?? run)?.orphans;
    const ended = run?.finishedAt;
    const finished = html`<small title=${exact(ended)}>${ended ? when(ended) : nothing}</small>`;
    return html`<section class="tiles four">
      ${tile(words.last, run ? outcome(run) : words.none, finished)}
      ${tile(words.next, this.#isDue ? words.due : this.#next, nothing, exact(status.nextRunAt))}
      ${tile(words.grace, status.gracePeriod ? duration(status.gracePeriod) : words.noGrace)}
      ${tile(words.members, this.#people, html`<small>${orphans ? words.orphans(orphans) : nothing}</small>`)}
    </section>`;
  }

  get #next() {
    return this.status.nextRunAt ? when(this.status.nextRunAt) : '–';
  }

  get #people() {
    const { members, admins } = this.preview ?? this.run ?? {};
    return typeof members === 'number' ? words.people(number(members), number(admins ?? 0)) : '–';
  }

  #progress() {
    const progress = (this.current ?? this.status.lastReport)?.progress;
    if (!progress?.total) return nothing;
    return html`${words.progress(progress.checked, progress.total)}
      <progress max=${progress.total} value=${progress.checked} aria-label=${words.running}></progress>`;
  }

  /** @param {Report} report @param {string} title */
  #report(report, title) {
    const apply = (/** @type {any[]} */ affected) => this.#confirm(report, affected);
    return html`<cleanup-report
      .report=${report}
      .heading=${html`${title} ${outcome(report)}`}
      .gracePeriod=${this.status.gracePeriod}
      .apply=${may(this.me, 'cleanup.run') ? apply : null}
    ></cleanup-report>`;
  }

  /** @param {Report} report @param {any[]} affected those for whom something happens once this is confirmed */
  #confirm(report, affected) {
    const deleted = affected.filter(entry => entry.whenConfirmed === 'delete');
    const keys = deleted.reduce((sum, entry) => sum + (entry.keys ?? 0), 0);
    open(new ConfirmDialog(), {
      heading: words.apply(affected.length),
      lead: deleted.length ? words.deletes(deleted.length, keys) : words.effect(session.soon),
      more: () =>
        html`<ul class="affected">
          ${affected.map(
            entry => html`<li>${entry.userId}: ${words.actions[/** @type {'block'} */ (entry.whenConfirmed)]}</li>`,
          )}
        </ul>`,
      word: String(affected.length),
      undone: words.notApplied,
      button: words.apply(affected.length),
      act: async () => {
        const answer = this.#ask({ dryRun: false, planHash: report.plan.hash });
        await answer;
        this.preview = null;
        this.#follow(answer);
      },
    });
  }

  #makePreview() {
    this.#follow(this.#ask({ dryRun: true }));
  }

  /** @param {{dryRun: boolean, planHash?: string}} body */
  #ask(body) {
    return this.api.call('POST', ['cleanup'], { body });
  }

  /**
   * Shows the report of a run, and follows one that takes long.
   *
   * @param {ReturnType<import('./api.js').Api['call']>} answer
   */
  async #follow(answer) {
    this.isBusy = true;
    try {
      const { status, body } = await answer;
      const report = status === 202 ? await this.#followed(body.runId) : body;
      if (report.outcome === 'planned') this.preview = report;
      else this.run = report;
      await this.reload();
    } catch (error) {
      this.failed(words.notPlanned, error, { label: words.dryRun, act: () => this.#makePreview() });
    } finally {
      this.isBusy = false;
      this.current = null;
    }
  }

  /** @param {number} runId */
  async #followed(runId) {
    for (;;) {
      const report = await this.api.read(['cleanup', 'runs', String(runId)]);
      this.current = report;
      if (report.outcome !== 'running' || !this.isConnected) return report;
      this.requestUpdate();
      await new Promise(resolve => setTimeout(resolve, POLL));
    }
  }
}
customElements.define('cleanup-view', CleanupView);
