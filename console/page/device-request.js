// A device that asks to be signed in: what it says of itself, and what is decided. Opening a link decides nothing.

import { html, nothing } from './lit.js';
import { Api } from './api.js';
import { PageElement } from './element.js';
import { duration, exact, when } from './format.js';
import { EndedError } from './http.js';
import { owners } from './owners.js';
import { failed, field, pill, tile } from './ui.js';
import { text } from './text.js';

const { request: words } = text.devices;
/** In seconds; the longest that the service allows is offered, too. */
const LIVES = [86400, 7 * 86400];
const LONG_AGO = 60;
const CODE = /^[a-z]{4}-?[a-z]{4}$/i;
/** @type {Record<string, 'good' | 'warn' | 'bad' | 'plain'>} */
const KINDS = { pending: 'warn', approved: 'good', 'signed-in': 'good', refused: 'bad' };

class DeviceRequest extends PageElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    code: {},
    me: { attribute: false },
    asked: { state: true },
    isBusy: { state: true },
    isSure: { state: true },
    failure: { state: true },
  };

  stores = [owners];
  api = new Api();
  /** Follows a decision. */
  decided = () => {};

  constructor() {
    super();
    this.code = '';
    /** @type {any} */ this.me = null;
    /** @type {any} a `DeviceRequest` of the contract */ this.asked = null;
    this.isBusy = this.isSure = false;
    /** @type {{title: string, error: any} | null} */ this.failure = null;
  }

  connectedCallback() {
    super.connectedCallback();
    if (CODE.test(this.code)) void this.#look();
  }

  #look() {
    return this.#ask(words.notFound, 'GET', []);
  }

  /**
   * @param {string} undone what did not happen @param {string} method @param {string[]} action
   * @param {object} [body]
   */
  async #ask(undone, method, action, body) {
    if (this.isBusy) return;
    this.isBusy = true;
    this.failure = null;
    try {
      const path = ['device-codes', this.code.trim(), ...action];
      this.asked = (await this.api.call(method, path, body ? { body } : {})).body;
      if (action.length) this.decided();
    } catch (error) {
      if (!(error instanceof EndedError)) this.failure = { title: undone, error };
    }
    this.isBusy = false;
  }

  /** @param {SubmitEvent} event */
  #entered(event) {
    event.preventDefault();
    this.asked = null;
    this.isSure = false;
    const typed = /** @type {HTMLInputElement} */ (this.querySelector('[name=code]')).value.trim();
    if (!CODE.test(typed)) return void (this.failure = { title: words.notFound, error: { message: words.noCode } });
    this.code = typed;
    return this.#look();
  }

  /** @param {SubmitEvent} event */
  #approved(event) {
    event.preventDefault();
    if (!this.isSure) return;
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const body = { owner: form.get('owner'), life: Number(form.get('life')) };
    return this.#ask(words.notApproved, 'POST', ['approval'], body);
  }

  render() {
    return html`<section class="card" aria-busy=${this.isBusy}>
      <div class="tools"><h2>${words.title}</h2></div>
      ${this.#entry()} ${this.failure ? failed(this.failure.title, this.failure.error) : nothing}
      <div aria-live="polite">${this.asked ? this.#shown(this.asked) : nothing}</div>
    </section>`;
  }

  #entry() {
    const box = html`<input
      name="code"
      .value=${this.code}
      placeholder="WDJB-MJHT"
      autocomplete="off"
      autocapitalize="characters"
      spellcheck="false"
      maxlength="9"
      required
    />`;
    return html`<form class="try" @submit=${this.#entered}>
      ${field(words.label, box, words.hint)}
      <button class=${this.asked ? '' : 'primary'} ?disabled=${this.isBusy}>${words.look}</button>
    </form>`;
  }

  /** @param {any} asked */
  #shown({ clientId, deviceName, tool, address, isSameNetwork, requestedAt, ageSeconds, state, longestLife }) {
    const from = address ?? words.unknown;
    const word = pill(KINDS[state] ?? 'plain', words.states[state] ?? state);
    return html`<div class="tiles four">
        ${tile(words.device, html`<span dir="auto">${deviceName ?? words.unnamed}</span>`)}
        ${tile(words.tool, html`<span dir="auto">${tool ?? clientId}</span>`)} ${tile(words.address, from)}
        ${tile(words.at, when(requestedAt), word, exact(requestedAt))}
      </div>
      ${ageSeconds > LONG_AGO ? warning(words.old) : nothing} ${isSameNetwork ? nothing : warning(words.elsewhere)}
      ${state === 'pending' ? this.#choice(longestLife) : html`<p class="said">${words.said[state] ?? ''}</p>`}`;
  }

  /** @param {number} longest life in seconds */
  #choice(longest) {
    const lives = [...LIVES.filter(life => life < longest), longest];
    const mine = { userId: this.me.subject, title: words.me };
    const all = [mine, ...owners.all.map(({ userId }) => ({ userId, title: `${owners.titleOf(userId)} (${userId})` }))];
    const owner = html`<select name="owner">
      ${all.map(({ userId, title }) => html`<option value=${userId}>${title}</option>`)}
    </select>`;
    const life = html`<select name="life">
      ${lives.map(each => html`<option value=${each} .selected=${each === longest}>${duration(each)}</option>`)}
    </select>`;
    return html`<form class="try" @submit=${this.#approved}>
      ${field(words.owner, owner, words.ownerHint)} ${field(words.life, life, words.lifeHint)}
      <div class="choices">
        <label
          ><input
            type="checkbox"
            name="sure"
            .checked=${this.isSure}
            @change=${(/** @type {any} */ event) => (this.isSure = event.target.checked)}
          />${words.sure(this.code.toUpperCase())}</label
        >
      </div>
      <div class="actions">
        <button class="primary" ?disabled=${this.isBusy || !this.isSure}>${words.approve}</button>
        <button type="button" ?disabled=${this.isBusy} @click=${() => this.#refuse()}>${words.refuse}</button>
      </div>
    </form>`;
  }

  #refuse() {
    return this.#ask(words.notRefused, 'POST', ['refusal']);
  }
}
customElements.define('device-request', DeviceRequest);

/** @param {string} sentence */
const warning = sentence => html`<div class="notice warn" role="status">${sentence}</div>`;
