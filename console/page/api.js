// Calls the public API for the person who was signed in when a view or dialog began, and for nobody else.

import { ApiError, request } from './http.js';
import { session } from './session.js';
import { text } from './text.js';

/** @typedef {import('./http.js').Options} Options */

const PAGE = 100;

export class Api {
  #person = session.person;

  /**
   * Asks once more with a renewed token, if the first has expired. Once somebody else is signed in, or nobody, nothing is
   * sent any more, and an answer that is late is an ApiError: it is not for them.
   *
   * @param {string} method @param {string[]} path segments, not encoded @param {Options} [options]
   */
  async call(method, path, options) {
    const token = this.#token;
    try {
      return await this.#asked(token, method, path, options);
    } catch (error) {
      if (/** @type {ApiError} */ (error).status !== 401) throw error;
    }
    await session.renew(token);
    return this.#asked(this.#token, method, path, options);
  }

  get #token() {
    if (session.person === null || session.person !== this.#person) throw new ApiError(text.errors.ended, 0);
    return session.token;
  }

  /** @param {string} token @param {string} method @param {string[]} path @param {Options} [options] */
  async #asked(token, method, path, options) {
    try {
      return await request(token, method, path, options);
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
   * @param {string[]} path @param {string} name of the field @param {Options['query']} query
   * @param {number} most of rows @param {(count: number) => void} progress is told how many there are so far
   * @returns {Promise<any[]>}
   */
  async readAll(path, name, query, most, progress) {
    const rows = [];
    let cursor = null;
    do {
      const page = await this.read(path, { ...query, limit: PAGE, cursor });
      rows.push(...page[name]);
      progress(rows.length);
      cursor = page.nextCursor;
    } while (cursor && rows.length < most);
    return rows.slice(0, most);
  }
}
