// What each element of the page is: drawn into the page itself, and drawn anew when what it shows changes.

import { LitElement } from './lit.js';

export class PageElement extends LitElement {
  /** What it shows besides its own properties. @type {EventTarget[]} */ stores = [];

  /** One style sheet for the page: no shadow roots. */
  createRenderRoot() {
    return this;
  }

  connectedCallback() {
    super.connectedCallback();
    for (const store of this.stores) store.addEventListener('change', this);
  }

  disconnectedCallback() {
    for (const store of this.stores) store.removeEventListener('change', this);
    super.disconnectedCallback();
  }

  /** A store has changed. */
  handleEvent() {
    this.requestUpdate();
  }
}
