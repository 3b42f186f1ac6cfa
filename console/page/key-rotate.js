// Rotates a key: says in words until when the old one works.

import { html, nothing } from './lit.js';
import { FormDialog } from './dialog.js';
import { session } from './session.js';
import { field } from './ui.js';
import { text } from './text.js';
import { dayOf, duration, timeOfDay } from './format.js';
import { keyName, modelFor } from './key-facts.js';

const OVERLAPS = [0, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400];
const USUAL = 3;

class KeyRotate extends FormDialog {
  /** @type {any} the keys that it stands over */ view = null;
  /** @type {any} */ key = null;
  changed = () => {};
  tooOften = text.dialogs.tooManyKeys;

  connectedCallback() {
    this.heading = text.dialogs.rotateTitle(keyName(this.key));
    this.lead = this.key.blocked ? text.dialogs.rotateBlockedLead : text.dialogs.rotateLead;
    this.undone = text.keys.notRotated(keyName(this.key));
    super.connectedCallback();
  }

  /** In seconds. What was reported as leaked does not go on working. */
  get #overlap() {
    if (this.key.blocked) return 0;
    return OVERLAPS[Number(this.value('overlap') || USUAL)];
  }

  get doing() {
    if (this.key.blocked) return text.dialogs.rotateBlocked;
    if (this.#overlap === 0) return text.dialogs.rotateNow;
    const end = Date.now() + this.#overlap * 1000;
    return text.dialogs.rotateUntil(this.#overlap < 86400 ? timeOfDay(end) : dayOf(new Date(end).toISOString()));
  }

  fields() {
    const warning = this.key.pendingRevocations?.length
      ? html`<div class="notice warn">${text.dialogs.rotateTwice(session.soon)}</div>`
      : nothing;
    if (this.key.blocked) return warning;
    const word = this.#overlap ? duration(this.#overlap) : text.none;
    return html`${warning}${field(
      `${text.dialogs.overlap}: ${word}`,
      html`<input
        type="range"
        name="overlap"
        min="0"
        max=${OVERLAPS.length - 1}
        .defaultValue=${String(USUAL)}
        aria-valuetext=${word}
        autofocus
      />`,
    )}`;
  }

  async submit() {
    const path = ['users', this.view.userId, 'keys', this.key.token, 'regenerate'];
    const about = { alias: this.key.key_alias ?? '', model: modelFor(this.key.models, this.view.models ?? []) };
    await this.api.mint(path, { overlap: this.#overlap }, about);
    this.close();
    this.changed();
  }
}
customElements.define('key-rotate', KeyRotate);
export { KeyRotate };
