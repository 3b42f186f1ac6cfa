// A page of the console: loads, and shows a skeleton, an error or its content.

import { LitElement, html, nothing } from './lit.js';
import { failed, skeletonRows } from './ui.js';

export class View extends LitElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = { failure: { state: true }, isLoaded: { state: true } };

  constructor() {
    super();
    /** @type {any} */ this.failure = null;
    this.isLoaded = false;
  }

  /** One style sheet for the page: no shadow roots. */
  createRenderRoot() {
    return this;
  }

  connectedCallback() {
    super.connectedCallback();
    this.reload();
  }

  /** Gets what the view shows. */
  async load() {}

  heading = '';
  lead = '';

  async reload() {
    try {
      await this.load();
      this.failure = null;
      this.isLoaded = true;
    } catch (error) {
      this.failure = error;
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

  render() {
    return html`<header class="page">
        <div><h1>${this.heading}</h1><p>${this.lead}</p></div>
        <div class="actions">${this.isLoaded ? this.actions() : nothing}</div>
      </header>
      ${this.failure ? failed(this.failure, () => this.reload()) : nothing}
      ${this.isLoaded ? this.content() : this.failure ? nothing : html`<section class="card" aria-busy="true">${skeletonRows()}</section>`}`;
  }
}
