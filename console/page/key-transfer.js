// Gives a key another owner: the secret goes on working, and those who received it still know it.

import { html } from './lit.js';
import { FormDialog, open } from './dialog.js';
import { keyName } from './key-facts.js';
import { notices } from './notices.js';
import { nameAmong } from './owner-switch.js';
import { owners } from './owners.js';
import { may } from './session.js';
import { field } from './ui.js';
import { text } from './text.js';

const { dialogs: words } = text;

/**
 * To whom somebody may give a key of `owner`.
 *
 * @param {import('./session.js').Person} person @param {string} owner
 */
const receivers = ({ subject }, owner) =>
  [subject, ...owners.all.map(({ userId }) => userId)].filter(ref => ref !== owner);

/**
 * Whether a key may have another owner: not what LiteLLM made for a sign-in, nor in the overlap of a rotation.
 *
 * @param {import('./session.js').Person} person @param {string} owner @param {any} row of the key
 */
export const mayTransfer = (person, owner, row) =>
  may(person, 'keys.transfer', owner) &&
  receivers(person, owner).length > 0 &&
  !(row.isSession || row.replacedBy || row.revokeAt || row.pendingRevocations?.length);

class KeyTransfer extends FormDialog {
  /** @type {any} the keys that it stands over */ view = null;
  /** @type {any} */ key = null;
  /** @type {(owner: string) => void} */ transferred = () => {};
  lead = words.transferLead;

  connectedCallback() {
    this.heading = words.transferTitle(keyName(this.key));
    this.undone = text.keys.notTransferred(keyName(this.key));
    super.connectedCallback();
  }

  get #receivers() {
    return receivers(this.view.me, this.view.userId);
  }

  /** The owner that is chosen now, if any. */
  get #owner() {
    const named = this.value('owner').trim().toLowerCase();
    return named || (this.#names ? '' : this.#receivers[0]);
  }

  /** Whether any owner may be named: an admin manages all. */
  get #names() {
    return may(this.view.me, 'keys.transfer');
  }

  get isComplete() {
    return this.#owner !== '';
  }

  get doing() {
    return this.#owner ? words.transferTo(this.#titleOf(this.#owner)) : words.transfer;
  }

  /** @param {string} ref */
  #titleOf(ref) {
    return ref === this.view.me.subject ? words.myself : owners.titleOf(ref);
  }

  fields() {
    return html`<p>${words.transferKnown}</p>
      ${this.#names ? this.#named() : this.#chosen()}`;
  }

  #chosen() {
    const { subject } = this.view.me;
    const option = (/** @type {string} */ ref) =>
      html`<option value=${ref}>${ref === subject ? text.owners.me : nameAmong(owners.all, ref)}</option>`;
    return field(
      words.newOwner,
      html`<select name="owner" autofocus>
        ${this.#receivers.map(option)}
      </select>`,
    );
  }

  #named() {
    const option = (/** @type {string} */ ref) => html`<option value=${ref}>${owners.titleOf(ref)}</option>`;
    return html`${field(
        words.newOwner,
        html`<input name="owner" list="receivers" autocomplete="off" spellcheck="false" autofocus />`,
        words.newOwnerHint,
      )} <datalist id="receivers">${this.#receivers.map(option)}</datalist>`;
  }

  async submit() {
    const owner = this.#owner;
    try {
      await this.api.call('POST', [...this.#pathIn(this.view.userId), 'transfer'], { body: { owner } });
    } catch (error) {
      if (/** @type {any} */ (error).status !== 404) throw error;
      // It was done, and that answer was lost; or the new owner is not there; or the key is gone.
      const isDone = await this.#isIn(owner);
      if (!isDone && (await this.#isIn(this.view.userId))) this.gone = null;
      if (!isDone) throw error;
    }
    this.close();
    this.transferred(this.#titleOf(owner));
  }

  /** @param {string} owner */
  #pathIn(owner) {
    return ['users', owner, 'keys', this.key.token];
  }

  /** Whether an owner has the key now. @param {string} owner */
  #isIn(owner) {
    return this.api.read(this.#pathIn(owner)).then(
      () => true,
      () => false,
    );
  }
}
customElements.define('key-transfer', KeyTransfer);

/**
 * @param {any} view the keys that it stands over @param {any} key
 * @param {() => void} moved @param {() => void} gone if it was deleted before
 */
export function transferKey(view, key, moved, gone) {
  const transferred = (/** @type {string} */ owner) => {
    moved();
    notices.add({ kind: 'good', title: text.keys.isTransferred(keyName(key), owner) });
  };
  open(new KeyTransfer(), { view, key, gone, transferred });
}
