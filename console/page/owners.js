// The groups and components whose keys the person who is signed in manages, besides their own.

import { Api } from './api.js';
import { nameOf } from './format.js';
import { hasKeys, session } from './session.js';

/** How long a view waits for the list, so that nothing moves when it comes, in milliseconds. */
const PATIENCE = 1000;
/** The service is older than the page, or has no groups and components to manage. */
const NONE = [400, 403, 404];

/**
 * A group or component. LiteLLM may not have it yet: then the limits are those that it will have.
 *
 * @typedef {any} Owner `ListedUser` or `Candidate` of the contract
 */

class Owners extends EventTarget {
  /** @type {Owner[]} in the order of kinds and titles */ all = [];
  /** @type {any} why they are not known */ failure = null;
  /** Settles once the list is known, or cannot be. @type {Promise<void>} */ known = Promise.resolve();
  /** Settles by then, or earlier if that takes long. @type {Promise<void>} */ awaited = Promise.resolve();
  isAwaited = false;
  #loading = 0;

  /** Asks what the person who is signed in now manages. @param {boolean} isAwaited by what is shown */
  load(isAwaited = true) {
    const loading = ++this.#loading;
    this.all = [];
    this.failure = null;
    const isAsked = session.person !== null && hasKeys(session.person);
    this.isAwaited = isAwaited && isAsked;
    this.known = isAsked ? this.#load(loading) : Promise.resolve();
    const late = new Promise(resolve => setTimeout(resolve, PATIENCE));
    this.awaited = Promise.race([this.known, late]).then(() => {
      if (loading !== this.#loading) return;
      this.isAwaited = false;
      this.#changed();
    });
    this.#changed();
  }

  /** @param {number} loading */
  async #load(loading) {
    const person = /** @type {import('./session.js').Person} */ (session.person);
    const withLimits = (/** @type {any} */ row) => ({ ...row, ...row.limits });
    const rowsOf = (/** @type {any} */ page) => [...page.users, ...(page.candidates ?? []).map(withLimits)];
    try {
      const rows = await new Api().readAll(['users'], rowsOf, { managedBy: 'me' });
      if (loading !== this.#loading) return;
      this.all = rows.filter(row => row.userId !== person.subject).toSorted(inOrder);
      person.manages = new Set(this.all.map(owner => owner.userId));
    } catch (failure) {
      if (loading !== this.#loading) return;
      if (!NONE.includes(/** @type {any} */ (failure).status)) this.failure = failure;
    }
    this.#changed();
  }

  /** @param {string} ref @returns {Owner | undefined} */
  find(ref) {
    return this.all.find(owner => owner.userId === ref);
  }

  /** What people call an owner, or somebody. @param {string} ref @returns {string} */
  titleOf(ref) {
    const owner = this.find(ref);
    return owner ? titleOf(owner) : nameOf(ref);
  }

  /**
   * What is read of an owner, or is so of one that LiteLLM does not have yet.
   *
   * @template T
   * @param {string} ref @param {() => Promise<T>} read @param {(owner: Owner) => T} absent
   * @returns {Promise<T>}
   */
  async read(ref, read, absent) {
    try {
      return await read();
    } catch (error) {
      await this.known;
      const owner = this.find(ref);
      if (/** @type {any} */ (error).status !== 404 || !owner) throw error;
      return absent(owner);
    }
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}

/** @param {Owner} owner @returns {string} */
const titleOf = owner => owner.displayName ?? nameOf(owner.userId);

/** Groups before components. @param {Owner} one @param {Owner} other */
const inOrder = (one, other) =>
  other.kind.localeCompare(one.kind) ||
  titleOf(one).localeCompare(titleOf(other)) ||
  one.userId.localeCompare(other.userId);

export const owners = new Owners();
