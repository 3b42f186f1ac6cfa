// What a user has spent: the budget, a chart by day, and the same numbers as a table.

import { html, nothing } from './lit.js';
import { SERIES, chart, daysBetween } from './chart.js';
import { budgetNotice, budgetTile } from './budget.js';
import { exact, exactMoney, isKeyId, money, nameOf, number, shortId, utcDayOf, when } from './format.js';
import { workloadOf } from './key-facts.js';
import { download, empty, heads, table, tile } from './ui.js';
import { text } from './text.js';
import { OwnedView } from './owned-view.js';
import { owners } from './owners.js';

const { spending: words } = text;
const DAY = 86400e3;
const DAY_HEAD = ['day', 'usd', 'calls', 'failed', 'tokens'];
const PERIODS = [7, 30, 90, 365];

/** @typedef {{by: string, days: number}} Choice */

class SpendingView extends OwnedView {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    asked: { state: true },
    isWaiting: { state: true },
  };

  heading = words.title;
  lead = words.lead;
  /** Whether what the budget means is said elsewhere on the page. */
  isNested = false;
  /** @type {Choice} what the numbers are: everything but the controls is drawn from it */ shown = {
    by: 'model',
    days: 30,
  };
  /** @type {any} */ report = null;
  /** @type {any} */ byDay = null;

  constructor() {
    super();
    /** @type {Choice} what is wanted, and perhaps not here yet */ this.asked = this.shown;
    this.isWaiting = false;
  }

  async load() {
    const shown = this.asked;
    return owners.read(
      this.userId,
      () => this.#read(shown),
      owner => ({ byDay: null, report: nothingOf(owner), shown }),
    );
  }

  /** @param {Choice} shown */
  async #read(shown) {
    const path = ['users', this.userId, 'usage'];
    const to = new Date();
    const period = { from: dateOf(new Date(to.getTime() - (shown.days - 1) * DAY)), to: dateOf(to) };
    const [byDay, report] = await Promise.all([
      this.api.read(path, { ...period, groupBy: 'day', splitBy: shown.by === 'day' ? null : shown.by }),
      shown.by === 'day' ? null : this.api.read(path, { ...period, groupBy: shown.by }),
    ]);
    return { byDay, report: report ?? byDay, shown };
  }

  /**
   * Shows something else; if that fails, what was shown stays, and so do the controls.
   *
   * @param {Partial<Choice>} choice
   */
  async #choose(choice) {
    const asked = { ...this.asked, ...choice };
    this.asked = asked;
    this.isWaiting = true;
    await this.reload();
    if (this.asked !== asked) return;
    this.isWaiting = false;
    if (!this.failure) return;
    const group = words.groups[/** @type {'day'} */ (asked.by)];
    this.failed(words.notLoaded(group, asked.days), this.failure, {
      label: text.retry,
      act: () => this.#choose(choice),
    });
    this.failure = null;
    this.asked = this.shown;
  }

  actions() {
    return this.report.groups.length
      ? html`<button type="button" @click=${() => this.#export()}>${words.export}</button>`
      : nothing;
  }

  content() {
    const { budget, total } = this.report;
    const resets = html`<small title=${exact(budget.resetsAt)}
      >${budget.resetsAt ? `${words.tiles.resets} ${when(budget.resetsAt)}` : nothing}</small
    >`;
    const calls = html`<small>${number(total.requests)} ${words.columns.requests.toLowerCase()}</small>`;
    return html`${this.isNested ? nothing : budgetNotice({ userId: this.userId, ...budget }, budget.resetsAt)}
      <section class="tiles">
        ${budgetTile(budget, budget)} ${tile(words.tiles.remaining, money(budget.remaining), resets)}
        ${tile(words.total(this.shown.days), money(total.spend), calls, exactMoney(total.spend))}
      </section>
      <section class="card" aria-busy=${this.isWaiting}>
        <div class="tools between">
          <fieldset class="segments">
            <legend>${words.by}</legend>
            ${Object.entries(words.groups).map(
              ([value, label]) =>
                html`<label
                  ><input
                    type="radio"
                    name="by"
                    value=${value}
                    .checked=${this.asked.by === value}
                    @change=${() => this.#choose({ by: value })}
                  /><span>${label}</span></label
                >`,
            )}
          </fieldset>
          <select
            aria-label=${words.period}
            @change=${(/** @type {any} */ event) => this.#choose({ days: Number(event.target.value) })}
          >
            ${PERIODS.map(
              days =>
                html`<option value=${days} .selected=${days === this.asked.days}>${words.lastDays(days)}</option>`,
            )}
          </select>
        </div>
        ${
          this.report.groups.length
            ? [chart(words.chart, this.#dates, this.#series()), this.#table()]
            : empty(words.empty)
        }
      </section>`;
  }

  get #dates() {
    return daysBetween(this.byDay.from, this.byDay.to);
  }

  /** The largest groups, and the rest as one. */
  #series() {
    const byDay = new Map(this.byDay.groups.map((/** @type {any} */ row) => [row.group, row]));
    const values = (/** @type {(row: any) => number} */ of) =>
      this.#dates.map(day => (byDay.has(day) ? of(byDay.get(day)) : 0));
    const total = (/** @type {any} */ row) => row.figures.spend;
    if (this.shown.by === 'day') return [{ name: words.columns.spend, values: values(total) }];
    const largest = this.report.groups.toSorted((/** @type {any} */ a, /** @type {any} */ b) => total(b) - total(a));
    const part = (/** @type {any} */ row, /** @type {string} */ group) =>
      row.parts.find((/** @type {any} */ one) => one.group === group)?.spend ?? 0;
    const named = largest.slice(0, largest.length > SERIES ? SERIES - 1 : SERIES);
    const series = named.map((/** @type {any} */ row) => ({
      name: this.#nameOf(row),
      values: values(day => part(day, row.group)),
    }));
    if (named.length === largest.length) return series;
    const rest = values(day =>
      Math.max(
        0,
        total(day) - named.reduce((/** @type {number} */ sum, /** @type {any} */ row) => sum + part(day, row.group), 0),
      ),
    );
    return [...series, { name: words.rest, values: rest }];
  }

  /** @param {any} row */
  #nameOf(row) {
    return groupName(row, this.report.userId);
  }

  #table() {
    const { columns, groups } = words;
    const isByDay = this.shown.by === 'day';
    const head = heads([
      [isByDay ? words.dayColumn : groups[/** @type {'model'} */ (this.shown.by)]],
      [columns.spend, 'num'],
      [columns.requests, 'num'],
      [columns.failed, 'num if-2'],
      [columns.tokens, 'num if-2'],
    ]);
    const rows = this.report.groups.map((/** @type {any} */ row) => {
      const { spend, requests, failedRequests, totalTokens } = row.figures;
      return html`<tr>
        <td class="first">
          <div class="name" dir="auto" title=${row.group}>${isByDay ? utcDayOf(row.group) : this.#nameOf(row)}</div>
        </td>
        <td class="num" title=${exactMoney(spend)}>${money(spend)}</td>
        <td class="num" data-label=${columns.requests}>${number(requests)}</td>
        <td class="num if-2" data-label=${columns.failed}>${number(failedRequests)}</td>
        <td class="num if-2" data-label=${columns.tokens}>${number(totalTokens)}</td>
      </tr>`;
    });
    return table(words.title, head, rows);
  }

  /** A row for each day, and for each group of it. */
  #export() {
    const { by } = this.shown;
    const { from, to } = this.report;
    const head = by === 'key' ? ['day', 'key_id', 'alias', 'usd'] : ['day', by, 'usd'];
    const rows = by === 'day' ? this.#days() : this.#daysAndGroups();
    const user = this.userId.replaceAll(/[:/]/g, '-');
    download(`spending-${user}-by-${by}-${from}-${to}.csv`, [by === 'day' ? DAY_HEAD : head, ...rows]);
  }

  #days() {
    return this.report.groups.map((/** @type {any} */ { group, figures }) => [
      group,
      usd(figures.spend),
      figures.requests,
      figures.failedRequests,
      figures.totalTokens,
    ]);
  }

  #daysAndGroups() {
    const aliases = new Map(this.report.groups.map((/** @type {any} */ row) => [row.group, row.alias]));
    return this.byDay.groups.flatMap((/** @type {any} */ day) =>
      day.parts.map((/** @type {any} */ { group, spend }) =>
        this.shown.by === 'key'
          ? [day.group, group, aliases.get(group) ?? '', usd(spend)]
          : [day.group, group, usd(spend)],
      ),
    );
  }
}
customElements.define('spending-view', SpendingView);

/** The report of an owner that LiteLLM does not have yet. @param {import('./owners.js').Owner} owner */
const nothingOf = ({ maxBudget, budgetDuration }) => ({
  groups: [],
  total: { spend: 0, requests: 0 },
  budget: { spend: 0, maxBudget, remaining: maxBudget, budgetDuration, resetsAt: null },
});

/** Without the dust of sums of floats. @param {number} spend */
const usd = spend => Number(spend.toFixed(6));

/** The day in UTC, as LiteLLM counts. @param {Date} date */
const dateOf = date => date.toISOString().slice(0, 10);

/** @param {any} row @param {string} owner whose usage it is */
const groupName = (row, owner) => {
  if (row.group.startsWith('device:') && row.alias) {
    const name = text.keys.device(row.alias);
    return row.userId === owner ? name : text.keys.deviceOf(name, nameOf(row.userId));
  }
  if (/^(workload|device):/.test(row.group)) return workloadOf(row.group);
  return row.alias ?? (isKeyId(row.group) ? shortId(row.group) : row.group);
};
