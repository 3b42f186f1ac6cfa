// One request to the public API, with the token that it is given, and its failure in words for the user.

import { text } from './text.js';

/** The status of a request that was one too many. */
export const TOO_OFTEN = 429;
const base = new URL('../../', import.meta.url);

/** An error of the API, or of the way to it, in words for the user. */
export class ApiError extends Error {
  /**
   * @param {string} message @param {number} status 0 if there was no response @param {string | null} requestId
   * @param {number} retryAfter seconds, 0 if that was not said
   */
  constructor(message, status, requestId = null, retryAfter = 0) {
    super(message);
    this.status = status;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }
}

/** Nobody waits for the answer any more: whoever asked has cancelled, or has gone. */
export class EndedError extends ApiError {
  constructor() {
    super(text.errors.ended, 0);
  }
}

/**
 * @typedef {object} Options
 * @property {unknown} [body]
 * @property {Record<string, string | number | boolean | null | undefined>} [query] null and empty values are left out
 * @property {string} [idempotencyKey] the same for each attempt of one action
 * @property {string | null} [ifMatch]
 */

/** @typedef {{status: number, body: any, etag: string | null}} Answer */

/**
 * Raises ApiError for whatever is no success.
 *
 * @param {string} token @param {string} method @param {string[]} path segments, not encoded @param {Options} options
 * @returns {Promise<Answer>}
 */
export async function request(token, method, path, { body, query = {}, idempotencyKey, ifMatch } = {}) {
  const url = new URL(path.map(encodeURIComponent).join('/'), base);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') url.searchParams.set(name, String(value));
  }
  const headers = new Headers({ Authorization: `Bearer ${token}` });
  if (body !== undefined) headers.set('Content-Type', 'application/json');
  if (idempotencyKey) headers.set('Idempotency-Key', idempotencyKey);
  if (ifMatch) headers.set('If-Match', ifMatch);
  const response = await fetched(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const isJson = response.headers.get('Content-Type')?.startsWith('application/json');
  const answer = isJson ? await response.json().catch(() => Promise.reject(unreachable())) : null;
  if (!response.ok) {
    const retryAfter = Number(response.headers.get('Retry-After')) || 0;
    const isTooOften = response.status === TOO_OFTEN && retryAfter > 0;
    const said = isTooOften ? text.errors.tooOften(retryAfter) : answer?.error?.message;
    const message = said ?? text.errors.status(response.status);
    throw new ApiError(message, response.status, response.headers.get('X-Request-Id'), retryAfter);
  }
  return { status: response.status, body: answer, etag: response.headers.get('ETag') };
}

/**
 * A response, of whatever status. Raises ApiError if there is none.
 *
 * @param {URL | string} url @param {RequestInit} [options]
 */
export const fetched = (url, options) => fetch(url, options).catch(() => Promise.reject(unreachable()));

const unreachable = () => new ApiError(navigator.onLine ? text.errors.unreachable : text.errors.offline, 0);
