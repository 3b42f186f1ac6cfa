// A field for a person: what is typed is looked up among the users, and only what names one of them is asked for.

import { html, nothing } from './lit.js';
import { Api } from './api.js';
import { PageElement } from './element.js';
import { isUser, nameOf } from './format.js';
import { text } from './text.js';

const { audit: words } = text;
const TYPING = 250;
const MOST = 8;
const NAME = /^[a-z0-9._-]+$/i;

/** @typedef {{userId: string, displayName: string | null}} Person */

class PersonField extends PageElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    label: {},
    others: {},
    found: { state: true },
    hint: { state: true },
    isWrong: { state: true },
  };

  #api = new Api();
  #typing = 0;
  #typed = '';
  /** Told the ref of who was typed, or null. @type {(ref: string | null) => void} */ chosen = () => {};

  constructor() {
    super();
    this.label = '';
    /** @type {string[]} who is no user, and is known by name */ this.others = [];
    /** @type {Person[]} */ this.found = [];
    this.hint = '';
    this.isWrong = false;
  }

  /** @param {string} typed */
  #input(typed) {
    this.#typed = typed;
    clearTimeout(this.#typing);
    this.#typing = window.setTimeout(() => this.#lookUp(typed), TYPING);
  }

  /** @param {string} typed */
  async #lookUp(typed) {
    const word = typed.toLowerCase();
    if (typed === '' || isUser(typed) || this.others.includes(word)) return this.#settle(word || null, '');
    const users = await this.#search(typed);
    if (typed !== this.#typed) return;
    this.found = users;
    const others = this.others.filter(name => name.includes(word)).map(name => ({ userId: name, displayName: null }));
    const found = [...users, ...others];
    const same = found.filter(
      one => nameOf(one.userId).toLowerCase() === word || one.displayName?.toLowerCase() === word,
    );
    const [one] = found.length === 1 ? found : same.length === 1 ? same : [];
    if (one) this.#settle(one.userId, one.userId);
    else if (found.length) this.#unclear(words.several(found.length, users.length === MOST));
    // Who has left is in the log, and no user any more.
    else if (NAME.test(typed)) this.#settle(`user:default/${word}`, words.left(`user:default/${word}`));
    else this.#unclear(words.nobody(typed));
  }

  /** @param {string} query @returns {Promise<Person[]>} nobody, if they cannot be asked for */
  async #search(query) {
    try {
      return (await this.#api.read(['users'], { query, limit: MOST })).users;
    } catch {
      return [];
    }
  }

  /** @param {string | null} ref @param {string} hint */
  #settle(ref, hint) {
    this.hint = hint;
    this.isWrong = false;
    this.chosen(ref);
  }

  /** @param {string} hint */
  #unclear(hint) {
    this.hint = hint;
    this.isWrong = true;
  }

  render() {
    const id = `people-${this.label}`;
    const option = (/** @type {Person} */ one) =>
      html`<option value=${one.userId}>${one.displayName ?? nothing}</option>`;
    return html`<label class="field">
        <span>${this.label}</span>
        <input
          type="search"
          data-filter
          list=${id}
          autocomplete="off"
          spellcheck="false"
          placeholder=${words.person}
          aria-invalid=${this.isWrong}
          @input=${(/** @type {any} */ event) => this.#input(event.target.value.trim())}
        />
        <small role="status">${this.hint}</small>
      </label>
      <datalist id=${id}>
        ${this.found.map(option)}${this.others.map(name => html`<option value=${name}></option>`)}
      </datalist>`;
  }
}
customElements.define('person-field', PersonField);
