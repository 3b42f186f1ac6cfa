// Whose keys and spending are shown: one's own, or those of a group or component that one manages.

import { html, nothing } from './lit.js';
import { PageElement } from './element.js';
import { nameOf } from './format.js';
import { owners } from './owners.js';
import { failed } from './ui.js';
import { text } from './text.js';

const { owners: words } = text;
const KINDS = /** @type {const} */ (['group', 'component']);

class OwnerSwitch extends PageElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = { owner: {}, subject: {} };

  stores = [owners];
  /** @type {(owner: string) => void} */ chosen = () => {};

  constructor() {
    super();
    this.owner = '';
    this.subject = '';
  }

  render() {
    const { failure } = owners;
    return html`${failure ? failed(words.notLoaded, failure, () => owners.load(false)) : nothing}
    ${owners.all.length || this.owner !== this.subject ? this.#choice() : nothing}`;
  }

  #choice() {
    const stranger = this.owner !== this.subject && !owners.find(this.owner);
    return html`<div class="owner">
      <label for="owner">${words.label}</label>
      <select id="owner" @change=${(/** @type {any} */ event) => this.chosen(event.target.value)}>
        ${this.#option(this.subject, words.me)} ${stranger ? this.#option(this.owner, nameOf(this.owner)) : nothing}
        ${KINDS.map(kind => this.#group(kind))}
      </select>
      <small role="status" title=${this.owner}
        >${words.kinds[this.#kind] ?? nothing} <span dir="auto">${this.owner.slice(this.#kind.length + 1)}</span></small
      >
    </div>`;
  }

  get #kind() {
    return this.owner.slice(0, this.owner.indexOf(':'));
  }

  /** @param {typeof KINDS[number]} kind */
  #group(kind) {
    const ofKind = owners.all.filter(owner => owner.kind === kind);
    if (!ofKind.length) return nothing;
    return html`<optgroup label=${words.groups[kind]}>
      ${ofKind.map(({ userId }) => this.#option(userId, nameAmong(ofKind, userId)))}
    </optgroup>`;
  }

  /** @param {string} owner @param {string} label */
  #option(owner, label) {
    return html`<option value=${owner} .selected=${owner === this.owner}>${label}</option>`;
  }
}
customElements.define('owner-switch', OwnerSwitch);

/** Two may have one title. @param {import('./owners.js').Owner[]} all @param {string} ref */
export function nameAmong(all, ref) {
  const title = owners.titleOf(ref);
  const isAlone = all.every(({ userId }) => userId === ref || owners.titleOf(userId) !== title);
  return isAlone ? title : `${title} (${ref.slice(ref.indexOf(':') + 1)})`;
}
