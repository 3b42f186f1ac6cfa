// Calls the public API, and nothing else.

import { session } from './session.js';
import { text } from './text.js';

const base = new URL('../../', import.meta.url);
const PAGE = 100;

/** An error of the API, or of the way to it, in words for the user. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status 0 if there was no response @param {string | null} requestId */
  constructor(message, status, requestId = null) {
    super(message);
    this.status = status;
    this.requestId = requestId;
  }
}

/**
 * @typedef {object} Options
 * @property {unknown} [body]
 * @property {Record<string, string | number | boolean | null | undefined>} [query] null and empty values are left out
 * @property {string} [idempotencyKey] the same for each attempt of one action
 * @property {string | null} [ifMatch]
 */

/**
 * @param {string} method @param {string[]} path segments, not encoded @param {Options} options
 * @returns {Promise<{status: number, body: any, etag: string | null}>}
 */
export async function call(method, path, options = {}) {
  let response = await send(method, path, options);
  if (response.status === 401 && (await session.renew())) response = await send(method, path, options);
  const isJson = response.headers.get('Content-Type')?.startsWith('application/json');
  const body = isJson ? await response.json() : null;
  if (!response.ok) {
    const message = body?.error?.message ?? text.errors.status(response.status);
    throw new ApiError(message, response.status, response.headers.get('X-Request-Id'));
  }
  return { status: response.status, body, etag: response.headers.get('ETag') };
}

/** @param {string[]} path @param {Options['query']} [query] */
export const read = async (path, query) => (await call('GET', path, { query })).body;

/**
 * The first rows of a list, from as many pages as it takes.
 *
 * @param {string[]} path @param {string} name of the field @param {Options['query']} query
 * @param {number} most of rows @param {(count: number) => void} progress is told how many there are so far
 * @returns {Promise<any[]>}
 */
export async function readAll(path, name, query, most, progress) {
  const rows = [];
  let cursor = null;
  do {
    const page = await read(path, { ...query, limit: PAGE, cursor });
    rows.push(...page[name]);
    progress(rows.length);
    cursor = page.nextCursor;
  } while (cursor && rows.length < most);
  return rows.slice(0, most);
}

/** @param {string} method @param {string[]} path @param {Options} options */
async function send(method, path, { body, query = {}, idempotencyKey, ifMatch }) {
  const url = new URL(path.map(encodeURIComponent).join('/'), base);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') url.searchParams.set(name, String(value));
  }
  const headers = new Headers({ Authorization: `Bearer ${session.token}` });
  if (body !== undefined) headers.set('Content-Type', 'application/json');
  if (idempotencyKey) headers.set('Idempotency-Key', idempotencyKey);
  if (ifMatch) headers.set('If-Match', ifMatch);
  try {
    return await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new ApiError(navigator.onLine ? text.errors.unreachable : text.errors.offline, 0);
  }
}
