// What each rule says of a token, or of its claims. A token is a credential: it is sent once, and kept nowhere.

import { html, nothing } from './lit.js';
import { Api } from './api.js';
import { PageElement } from './element.js';
import { EndedError } from './http.js';
import { empty, failed, field, heads, pill, table } from './ui.js';
import { text } from './text.js';

const { test: words } = text.workloads;

class WorkloadTest extends PageElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    isBusy: { state: true },
    failure: { state: true },
    verdict: { state: true },
  };

  api = new Api();

  constructor() {
    super();
    this.isBusy = false;
    /** @type {any} */ this.failure = null;
    /** @type {any} a `TestedWorkload` */ this.verdict = null;
  }

  /** @param {SubmitEvent} event */
  async #submitted(event) {
    event.preventDefault();
    const box = /** @type {HTMLTextAreaElement} */ (this.querySelector('textarea'));
    const typed = box.value.trim();
    if (this.isBusy || !typed) return;
    this.verdict = this.failure = null;
    const areClaims = typed.startsWith('{');
    if (!areClaims) box.value = '';
    await this.#try(areClaims ? claimsIn(typed) : { token: typed });
  }

  /** @param {object | null} body */
  async #try(body) {
    if (!body) return void (this.failure = { message: words.noJson });
    this.isBusy = true;
    try {
      this.verdict = (await this.api.call('POST', ['workloads', 'test'], { body })).body;
    } catch (failure) {
      if (!(failure instanceof EndedError)) this.failure = failure;
    }
    this.isBusy = false;
  }

  render() {
    const box = html`<textarea
      rows="5"
      autocomplete="off"
      autocapitalize="off"
      spellcheck="false"
      required
    ></textarea>`;
    return html`<section class="card" aria-busy=${this.isBusy}>
      <div class="tools"><h2>${words.title}</h2></div>
      <form class="try" @submit=${this.#submitted}>
        ${field(words.label, box, words.hint)}
        <button class="primary" ?disabled=${this.isBusy}>${words.button}</button>
      </form>
      ${this.failure ? failed(words.notTried, this.failure) : nothing}
      <div aria-live="polite">${this.verdict ? verdictOf(this.verdict) : nothing}</div>
    </section>`;
  }
}
customElements.define('workload-test', WorkloadTest);

/** @param {string} typed @returns {object | null} */
function claimsIn(typed) {
  try {
    return { claims: JSON.parse(typed) };
  } catch {
    return null;
  }
}

/** @param {any} verdict */
const verdictOf = ({ verified, issuer, problem, rules }) =>
  html`<p class="said">${about(verified, issuer, problem)}</p>
    ${verified === false ? nothing : rules.length ? rulesTable(rules) : empty(text.workloads.none)}`;

/** @param {boolean | null} verified @param {string | null} issuer @param {string | null} problem */
function about(verified, issuer, problem) {
  if (verified === null) return `${words.claims} ${issuer === null ? words.noIssuer : ''}`;
  return verified ? words.verified(issuer ?? '') : words.unverified(problem ?? '');
}

/** @param {any[]} rules `TestedRule` */
const rulesTable = rules =>
  table(
    words.title,
    heads([[words.rule], [words.result], [words.reason]]),
    rules.map(
      ({ name, matched, problem }) =>
        html`<tr>
          <td class="first"><div class="name" dir="auto">${name}</div></td>
          <td class="state">${matched ? pill('good', words.matched) : pill('plain', words.not)}</td>
          <td class="long ${problem ? '' : 'nothing'}">${problem ?? '–'}</td>
        </tr>`,
    ),
  );
