// A view of rows that arrive page by page, and that are asked for anew while somebody types.

import { html, nothing } from './lit.js';
import { text } from './text.js';
import { View } from './view.js';

export const PAGE = 50;
const TYPING = 250;

export class PagedView extends View {
  /** @type {any[]} */ rows = [];
  /** @type {string | null} */ next = null;
  #typing = 0;

  /**
   * A page of the rows that are wanted now.
   *
   * @param {string | null} _cursor @returns {Promise<{rows: any[], next: string | null}>}
   */
  async page(_cursor) {
    return { rows: [], next: null };
  }

  /** @returns {Promise<Record<string, unknown>>} */
  async load() {
    return this.page(null);
  }

  /** Asks anew, once nothing is typed for a moment. */
  reloadSoon() {
    clearTimeout(this.#typing);
    this.#typing = window.setTimeout(() => this.reload(), TYPING);
  }

  moreButton() {
    return this.next
      ? html`<div class="tools end"><button type="button" @click=${() => this.#more()}>${text.more}</button></div>`
      : nothing;
  }

  async #more() {
    const before = this.rows;
    try {
      const { rows, next } = await this.page(this.next);
      // Other rows may be wanted by now.
      if (this.rows !== before) return;
      this.rows = [...before, ...rows];
      this.next = next;
    } catch (error) {
      this.failed(text.errors.moreNotLoaded, error, { label: text.more, act: () => this.#more() });
    }
    this.requestUpdate();
  }
}
