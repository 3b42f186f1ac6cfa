// A page of the console: loads, and shows a skeleton, an error or its content.

import { html, nothing } from './lit.js';
import { Api } from './api.js';
import { PageElement } from './element.js';
import { EndedError } from './http.js';
import { notices } from './notices.js';
import { failed, skeleton } from './ui.js';
import { text } from './text.js';

/** The period of a view that counts down, in milliseconds. */
export const COUNTDOWN = 30_000;

export class View extends PageElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    failure: { state: true },
    isLoaded: { state: true },
  };

  api = new Api();
  #ticking = 0;
  #loading = 0;
  /** @type {Promise<unknown>} */ #reloading = Promise.resolve();

  constructor() {
    super();
    /** @type {any} */ this.failure = null;
    this.isLoaded = false;
  }

  connectedCallback() {
    super.connectedCallback();
    this.dataset.view = '';
    if (this.period) this.#ticking = window.setInterval(() => this.tick(), this.period);
    this.reload();
  }

  disconnectedCallback() {
    clearInterval(this.#ticking);
    super.disconnectedCallback();
  }

  /** Gets what the view shows. @returns {Promise<Record<string, unknown>>} the properties of the view */
  async load() {
    return {};
  }

  heading = '';
  lead = '';
  /** How often `tick` is called while the view is shown, in milliseconds; 0 is never. */
  period = 0;

  /** Shows times relative to now; a view may do more. */
  tick() {
    this.requestUpdate();
  }

  reload() {
    this.#reloading = this.#reload();
    return this.#reloading;
  }

  /** Once what is asked for now has come, and is drawn with all that is in it. */
  get drawn() {
    return this.#reloading.then(() => this.updateComplete).then(() => new Promise(requestAnimationFrame));
  }

  async #reload() {
    const loading = ++this.#loading;
    try {
      const loaded = await this.load();
      // A slow answer to an older question must not replace a newer one.
      if (loading !== this.#loading) return;
      Object.assign(this, loaded);
      this.failure = null;
      this.isLoaded = true;
    } catch (error) {
      if (loading !== this.#loading) return;
      this.failure = error;
    }
    this.requestUpdate();
  }

  /**
   * An action failed: what did not happen stands where the eye is.
   *
   * @param {string} title @param {unknown} failure @param {import('./notices.js').Notice['again']} again
   */
  failed(title, failure, again = null) {
    if (!(failure instanceof EndedError)) notices.add({ kind: 'bad', title, failure, again });
  }

  /** What could not be loaded of the parts that fail on their own. @type {Record<string, unknown>} */ missing = {};

  /**
   * Gets the property `name`, without which the rest can be shown.
   *
   * @param {string} name @param {() => Promise<unknown>} get
   */
  async loadPart(name, get) {
    try {
      const value = await get();
      Object.assign(this, { [name]: value });
      delete this.missing[name];
    } catch (error) {
      this.missing[name] = error;
    }
    this.requestUpdate();
  }

  /** What stands at the right of the heading. @returns {unknown} */
  actions() {
    return nothing;
  }

  /** @returns {unknown} */
  content() {
    return nothing;
  }

  /** Why it could not be loaded. @param {any} failure @returns {unknown} */
  broken(failure) {
    return failed(text.errors.notLoaded(this.heading), failure, () => this.reload());
  }

  /** @returns {unknown} */
  render() {
    return html`<header class="page">
        <div>
          <h1 tabindex="-1">${this.heading}</h1>
          <p>${this.lead}</p>
        </div>
        <div class="actions">${this.isLoaded ? this.actions() : nothing}</div>
      </header>
      ${this.body()}`;
  }

  /** What there is, why there is nothing, or that it will come. */
  body() {
    return html`${this.failure ? this.broken(this.failure) : nothing}
    ${this.isLoaded ? this.content() : this.failure ? nothing : skeleton()}`;
  }
}
