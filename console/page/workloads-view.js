// Issuers and rules by which software gets keys of minutes, and a try-out of a token, for admins and auditors.

import { html, nothing } from './lit.js';
import { duration, exact, money, when } from './format.js';
import { rates } from './key-facts.js';
import { hrefOf } from './route.js';
import { empty, heads, pill, table } from './ui.js';
import { text } from './text.js';
import { View } from './view.js';
import './workload-test.js';

const { workloads: words } = text;

class WorkloadsView extends View {
  heading = words.title;
  lead = words.lead;
  /** @type {any[]} */ issuers = [];
  /** @type {any[]} */ rules = [];
  period = 30_000;

  /** Keys come and go by themselves. */
  tick() {
    this.reload();
  }

  async load() {
    const { issuers, rules } = await this.api.read(['workloads']);
    return { issuers, rules };
  }

  content() {
    if (!this.rules.length && !this.issuers.length) return html`<section class="card">${empty(words.none)}</section>`;
    return html`<section class="card">
        <div class="tools"><h2>${words.rules.title}</h2></div>
        ${this.#rules()}
      </section>
      <section class="card">
        <div class="tools"><h2>${words.issuers.title}</h2></div>
        ${this.#issuers()}
      </section>
      <workload-test></workload-test>`;
  }

  #rules() {
    const { title, name, owner, match, limits, living, used } = words.rules;
    const head = heads([[name], [owner], [match, 'if-2'], [limits, 'if-3'], [living, 'num'], [used]]);
    return table(title, head, this.rules.map(ruleRow));
  }

  #issuers() {
    const { title, name, health, audience, read } = words.issuers;
    return table(title, heads([[name], [health], [audience, 'if-2'], [read]]), this.issuers.map(issuerRow));
  }
}
customElements.define('workloads-view', WorkloadsView);

/** @param {any} rule a `WorkloadRule` */
function ruleRow({ name, issuer, owner, sub, claims, key, perMinute, maxLiving, livingKeys, lastUsedAt }) {
  const { living, used, of, perMinute: most } = words.rules;
  return html`<tr>
    <td class="first">
      <div class="name" dir="auto">${name}</div>
      <div class="sub">${issuer}</div>
    </td>
    <td class="long"><a href=${hrefOf(owner)}>${owner}</a></td>
    <td class="if-2 long">
      <ul class="changes">
        ${sub === null ? nothing : html`<li>sub <code>${sub}</code></li>`}
        ${claims.map((/** @type {any} */ { path, value }) => html`<li>${path.join(' / ')} <code>${value}</code></li>`)}
      </ul>
    </td>
    <td class="if-3 long">
      <ul class="changes">
        ${limitsOf(key).map(limit => html`<li>${limit}</li>`)}
        <li>${most(perMinute)}</li>
      </ul>
    </td>
    <td class="num" data-label=${living}>${livingKeys} <small>${of} ${maxLiving}</small></td>
    <td data-label=${used} title=${exact(lastUsedAt)}>${when(lastUsedAt)}</td>
  </tr>`;
}

/** What is said of its keys beyond what the tier of the owner says. @param {any} key `WorkloadKeyLimits` */
const limitsOf = ({ life, models, maxBudget, rpmLimit, tpmLimit }) => [
  words.rules.life(duration(life)),
  ...(models.length ? [models.join(', ')] : []),
  ...(maxBudget === null ? [] : [words.rules.budget(money(maxBudget))]),
  ...(rpmLimit === null && tpmLimit === null ? [] : [rates({ rpm_limit: rpmLimit, tpm_limit: tpmLimit })]),
];

/** @param {any} issuer a `WorkloadIssuer` */
function issuerRow({ name, url, audience, keys, readAt, problem }) {
  const { audience: label, read, inSettings } = words.issuers;
  return html`<tr>
      <td class="first">
        <div class="name" dir="auto">${name}</div>
        <div class="sub">${url}</div>
      </td>
      <td class="state">${health(keys, problem)}</td>
      <td class="if-2 long" data-label=${label}><code>${audience}</code></td>
      <td data-label=${read} title=${exact(readAt)}>${!readAt && keys ? inSettings : when(readAt)}</td>
    </tr>
    ${
      problem
        ? html`<tr>
            <td class="long" colspan="4">${problem}</td>
          </tr>`
        : nothing
    }`;
}

/**
 * Known keys are used through an outage.
 *
 * @param {number} keys @param {string | null} problem
 */
function health(keys, problem) {
  const { keys: known, failed } = words.issuers;
  if (problem) return pill(keys ? 'warn' : 'bad', keys ? `${known(keys)} · ${failed.toLowerCase()}` : failed, problem);
  return pill('good', known(keys));
}
