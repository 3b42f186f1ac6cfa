// Who is signed in. The token stays in memory: a page that is closed has forgotten it.

import { ApiError, fetched, request } from './http.js';
import { text } from './text.js';

const settingsUrl = new URL('../settings', import.meta.url);

/** @typedef {{userId: string, role: string}} Choice */
/**
 * @typedef {object} Settings
 * @property {string | null} modelsUrl
 * @property {string | null} refreshUrl
 * @property {string | null} contact
 * @property {Choice[]} people
 * @property {number} effectiveWithin
 */
/**
 * The answer of /me.
 *
 * @typedef {{subject: string, permissions?: {name: string, scope: string}[], tier: string | null, limits: any,
 *   manages?: Set<string>}} Person `manages` are the groups and components that they manage, once that is known
 */

/**
 * Whether somebody may do something to what is `owner`'s; without an owner, to everybody's. What they manage is theirs.
 * Where the service is older than the page it does not say, and everybody may do something to what is theirs.
 *
 * @param {Person} person @param {string} permission @param {string} [owner]
 */
export function may({ subject, permissions, manages }, permission, owner) {
  const scope = permissions ? permissions.find(({ name }) => name === permission)?.scope : 'own';
  const isTheirs = owner !== undefined && (subject === owner || Boolean(manages?.has(owner)));
  return scope === 'any' || (scope === 'own' && isTheirs);
}

/** Whether there are keys of their own: an auditor has none. @param {Person} person */
export const hasKeys = person => may(person, 'keys.create', person.subject);

/**
 * A token is used for /me and for nothing else until /me has said whose it is; whoever it cannot confirm is nobody. The
 * person is the same object for as long as the same person is signed in, also with a renewed token.
 */
class Session extends EventTarget {
  /** @type {Settings} */ settings = {
    modelsUrl: null,
    refreshUrl: null,
    contact: null,
    people: [],
    effectiveWithin: 60,
  };
  /** @type {Person | null} */ person = null;
  /** The token of that person. */
  token = '';
  /** @type {ApiError | null} why the last token made nobody a person */ failure = null;
  /** Whether a token has to be renewed by the user while a view waits for it. */
  isAsking = false;
  /** Whether /me is being asked. */
  isConfirming = false;
  /** Whether the settings are known, and whether anybody is signed in at Backstage. */
  isStarted = false;
  /** @type {Promise<void> | null} */ #renewal = null;
  /** @type {(() => void) | null} */ #answer = null;
  /** @type {() => void} */ #again = () => {};
  #trial = 0;

  /** When a key that is ended works nowhere any more. */
  get soon() {
    return text.times.within(this.settings.effectiveWithin);
  }

  /** Reads the settings, and takes over a session of Backstage if there is one. */
  async start() {
    this.#again = () => this.start();
    this.failure = null;
    try {
      const response = await fetched(settingsUrl);
      if (!response.ok) throw new ApiError(text.errors.status(response.status), response.status);
      this.settings = { ...this.settings, ...(await response.json()) };
      await this.#resume();
      this.isStarted = true;
    } catch (error) {
      this.failure = /** @type {ApiError} */ (error);
    }
    this.#changed();
  }

  /** @param {string} token */
  async signIn(token) {
    this.#again = () => this.signIn(token);
    await this.#confirm(token);
  }

  /** Repeats what ended with the failure. */
  retry() {
    this.#again();
  }

  signOut() {
    this.#trial += 1;
    this.isConfirming = false;
    this.failure = null;
    this.#settle(null, '');
  }

  /**
   * A token was refused: renews it, with the user's help if need be. Several callers share one renewal. If somebody
   * else signs in instead, they are the person from then on.
   *
   * @param {string} refused
   */
  async renew(refused) {
    if (refused !== this.token) return;
    this.#renewal ??= this.#renewed().finally(() => (this.#renewal = null));
    await this.#renewal;
  }

  async #renewed() {
    this.#again = () => this.#resume();
    if (await this.#resume()) return;
    this.isAsking = true;
    this.#changed();
    await new Promise(resolve => (this.#answer = () => resolve(undefined)));
  }

  /** Signs in whoever is signed in at Backstage. @returns {Promise<boolean>} whether it is known who that is */
  async #resume() {
    const trial = this.#trial;
    const token = await this.#backstageToken();
    return trial !== this.#trial || (token !== null && this.#confirm(token));
  }

  /** Asks whose a token is. @param {string} token @returns {Promise<boolean>} whether that is known */
  async #confirm(token) {
    const trial = ++this.#trial;
    this.isConfirming = true;
    this.failure = null;
    this.#changed();
    /** @type {Person | null} */ let found = null;
    /** @type {ApiError | null} */ let failure = null;
    try {
      found = (await request(token, 'GET', ['me'])).body;
    } catch (error) {
      failure = /** @type {ApiError} */ (error);
    }
    // Somebody signed in or out meanwhile.
    if (trial !== this.#trial) return true;
    this.isConfirming = false;
    this.failure = failure;
    const isKnown = found !== null || failure?.status === 403;
    if (isKnown) this.#settle(found, token);
    else this.#changed();
    return isKnown;
  }

  /** @param {Person | null} found @param {string} token */
  #settle(found, token) {
    const isSame = found !== null && found.subject === this.person?.subject;
    this.person = isSame ? Object.assign(/** @type {Person} */ (this.person), found) : found;
    this.token = found === null ? '' : token;
    this.isAsking = false;
    this.#answer?.();
    this.#answer = null;
    this.#changed();
  }

  /** The token of whoever is signed in at Backstage, which wants this header against forged requests. */
  async #backstageToken() {
    if (!this.settings.refreshUrl) return null;
    try {
      const headers = { 'X-Requested-With': 'XMLHttpRequest' };
      const response = await fetch(this.settings.refreshUrl, { credentials: 'include', headers });
      const token = response.ok ? (await response.json()).backstageIdentity?.token : null;
      return typeof token === 'string' ? token : null;
    } catch {
      return null;
    }
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}

export const session = new Session();

/** The token by which standalone mode signs a person in. @param {string} userId */
export const mockToken = userId => `mock-user-token:${JSON.stringify({ sub: userId })}`;
