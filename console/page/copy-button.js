// Copies, and says so only if it did. Else it selects what it could not copy, and says which keys to press.

import { html } from './lit.js';
import { PageElement } from './element.js';
import { text } from './text.js';

const AWHILE = 4000;
const isMac = /Mac|iP/.test(navigator.platform);

class CopyButton extends PageElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    value: {},
    label: {},
    isPrimary: { type: Boolean },
    said: { state: true },
  };

  constructor() {
    super();
    this.value = '';
    this.label = text.copy;
    this.isPrimary = false;
    this.said = '';
  }

  async #copy() {
    const isCopied = await navigator.clipboard.writeText(this.value).then(
      () => true,
      () => copyBySelection(this.value),
    );
    if (!isCopied) this.#select();
    this.said = isCopied ? text.copied : text.notCopied(isMac ? '⌘C' : 'Ctrl+C');
    if (isCopied) setTimeout(() => (this.said = ''), AWHILE);
  }

  /** What is shown of the value. */
  #select() {
    const nodes = this.closest('section, .notice, dialog')?.querySelectorAll('code, pre') ?? [];
    const shown = [...nodes].find(node => node.textContent === this.value);
    if (shown) getSelection()?.selectAllChildren(shown);
  }

  render() {
    return html`<button type="button" class=${this.isPrimary ? 'primary' : ''} @click=${this.#copy}>
        ${this.label}</button
      ><small role="status">${this.said}</small>`;
  }
}
customElements.define('copy-button', CopyButton);

/** Where the page is not in a secure context there is no clipboard. @param {string} value */
function copyBySelection(value) {
  const area = document.createElement('textarea');
  area.value = value;
  (document.querySelector('dialog[open]') ?? document.body).append(area);
  area.select();
  const isCopied = document.execCommand('copy');
  area.remove();
  return isCopied;
}
