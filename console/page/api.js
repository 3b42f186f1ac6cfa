// Calls the public API for the person who was signed in when a view or dialog began, and for nobody else.

import { EndedError, request } from './http.js';
import { secrets } from './secrets.js';
import { session } from './session.js';

/** @typedef {import('./http.js').Options} Options */

const PAGE = 100;

/** Also where the page is not in a secure context and has no randomUUID. */
const randomId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');

export class Api {
  #person = session.person;
  #cancelled;
  /** The ids of the requests that make a key. @type {Map<string, string>} */ #attempts = new Map();

  /** @param {AbortSignal | null} cancelled once it is aborted, nothing is sent any more */
  constructor(cancelled = null) {
    this.#cancelled = cancelled;
  }

  /**
   * Asks once more with a renewed token, if the first has expired. Once somebody else is signed in, or nobody, nothing
   * is sent any more, and an answer that is late is an EndedError: it is not for them.
   *
   * @param {string} method @param {string[]} path segments, not encoded @param {Options} [options]
   * @param {(answer: import('./http.js').Answer) => void} [arrived] gets the answer in any case
   */
  async call(method, path, options, arrived) {
    const token = this.#token;
    try {
      return await this.#asked(token, method, path, options, arrived);
    } catch (error) {
      if (/** @type {import('./http.js').ApiError} */ (error).status !== 401) throw error;
    }
    await session.renew(token);
    return this.#asked(this.#token, method, path, options, arrived);
  }

  /**
   * Makes a key. Its secret is kept for whoever asked for it, wherever they are when it comes. A second try of the same
   * request makes no second key; a changed request is another one.
   *
   * @param {string[]} path @param {object} body
   * @param {{alias: string, model: string}} about what the code beside the secret shows
   */
  async mint(path, body, about) {
    const asker = this.#person?.subject ?? '';
    const keep = (/** @type {any} */ { body }) =>
      secrets.keep(asker, { ...about, keyId: body.keyId, userId: body.userId, secret: body.keySecret });
    const sent = JSON.stringify(body);
    if (!this.#attempts.has(sent)) this.#attempts.set(sent, randomId());
    await this.call('POST', path, { body, idempotencyKey: this.#attempts.get(sent) }, keep);
  }

  get #token() {
    if (session.person === null || session.person !== this.#person) throw new EndedError();
    return session.token;
  }

  /**
   * @param {string} token @param {string} method @param {string[]} path @param {Options} [options]
   * @param {(answer: import('./http.js').Answer) => void} [arrived]
   */
  async #asked(token, method, path, options, arrived) {
    if (this.#cancelled?.aborted) throw new EndedError();
    try {
      const answer = await request(token, method, path, options);
      arrived?.(answer);
      return answer;
    } finally {
      void this.#token; // Whoever asked may have gone meanwhile.
    }
  }

  /** @param {string[]} path @param {Options['query']} [query] */
  async read(path, query) {
    return (await this.call('GET', path, { query })).body;
  }

  /**
   * The first rows of a list, from as many pages as it takes.
   *
   * @param {string[]} path @param {(page: any) => any[]} rowsOf @param {Options['query']} query
   * @param {number} most of rows @param {(count: number) => void} progress is told how many there are so far
   * @returns {Promise<any[]>}
   */
  async readAll(path, rowsOf, query, most = Infinity, progress = () => {}) {
    const rows = [];
    let cursor = null;
    do {
      const page = await this.read(path, { ...query, limit: PAGE, cursor });
      rows.push(...rowsOf(page));
      progress(rows.length);
      cursor = page.nextCursor;
    } while (cursor && rows.length < most);
    return rows.slice(0, most);
  }
}
