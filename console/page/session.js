// Who is signed in. The token stays in memory: a page that is closed has forgotten it.

const settingsUrl = new URL('../settings', import.meta.url);
const meUrl = new URL('../../me', import.meta.url);

/** @typedef {{userId: string, role: string}} Person */
/** @typedef {{modelsUrl: string | null, refreshUrl: string | null, contact: string | null, people: Person[]}} Settings */

class Session extends EventTarget {
  /** @type {string | null} */ token = null;
  /** @type {Settings} */ settings = { modelsUrl: null, refreshUrl: null, contact: null, people: [] };
  /** @type {string | null} who was seen to be signed in: from then on, a refused token has expired */ subject = null;
  /** Whether a token has to be renewed by the user while a view waits for it. */
  isAsking = false;
  /** @type {Promise<boolean> | null} */ #renewal = null;
  /** @type {((signedIn: boolean) => void) | null} */ #answer = null;

  /** Reads the settings, and takes over a session of Backstage if there is one. */
  async start() {
    const response = await fetch(settingsUrl);
    if (!response.ok) throw new Error(`${response.status}`);
    this.settings = await response.json();
    await this.#refresh();
    this.#changed();
  }

  /** @param {string} token */
  signIn(token) {
    this.token = token;
    this.isAsking = false;
    this.#answer?.(true);
    this.#changed();
  }

  signOut() {
    this.token = null;
    this.subject = null;
    this.isAsking = false;
    this.#answer?.(false);
    this.#changed();
  }

  /**
   * The token was refused: renews it, with the user's help if need be. Several callers share one renewal. It fails if
   * somebody else signs in: nothing that one person began is done in the name of another.
   */
  renew() {
    this.#renewal ??= this.#renewed().finally(() => (this.#renewal = null));
    return this.#renewal;
  }

  async #renewed() {
    return ((await this.#refresh()) || (await this.#asked())) && this.#isSamePerson();
  }

  /** @returns {Promise<boolean>} whether the user signed in again */
  async #asked() {
    if (this.subject === null) return false;
    this.isAsking = true;
    this.#changed();
    return new Promise(resolve => (this.#answer = resolve));
  }

  async #isSamePerson() {
    if (this.subject === null) return true;
    const response = await fetch(meUrl, { headers: { Authorization: `Bearer ${this.token}` } }).catch(() => null);
    // Without an answer about the person, the request itself will get the same one.
    if (!response?.ok && response?.status !== 403) return true;
    if (response.ok && (await response.json()).subject === this.subject) return true;
    this.subject = null;
    this.#changed();
    return false;
  }

  /** Asks Backstage for a token of whoever is signed in there; it wants this header against forged requests. */
  async #refresh() {
    if (!this.settings.refreshUrl) return false;
    try {
      const headers = { 'X-Requested-With': 'XMLHttpRequest' };
      const response = await fetch(this.settings.refreshUrl, { credentials: 'include', headers });
      const token = response.ok ? (await response.json()).backstageIdentity?.token : null;
      if (typeof token === 'string') this.token = token;
      return typeof token === 'string';
    } catch {
      return false;
    }
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}

export const session = new Session();

/** The token by which standalone mode signs a person in. @param {string} userId */
export const mockToken = userId => `mock-user-token:${JSON.stringify({ sub: userId })}`;
