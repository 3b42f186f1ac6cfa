// What an event of the audit log changed, in a few words.

import { html, nothing } from './lit.js';
import { isKeyId, shortId } from './format.js';
import { text } from './text.js';

/** @typedef {any} Event `AuditEvent` of the contract */

/** The alias of the event's key, if the event has it. @param {Event} event */
export const aliasIn = ({ before, requested, after }) =>
  after?.key_alias ?? before?.key_alias ?? after?.alias ?? requested?.alias ?? null;

/** What differs between before and after; what was there, if it was deleted. @param {Event} event */
export function difference({ action, before, requested, after, detail }) {
  const was = before ?? {};
  const is = action.endsWith('.delete') ? {} : (after ?? requested ?? {});
  const names = Object.keys(is).filter(name => JSON.stringify(was[name]) !== JSON.stringify(is[name]));
  const lost = action.endsWith('.delete') ? Object.keys(was).filter(name => !isNothing(was[name])) : [];
  if (!names.length && !lost.length) return html`<small>${detail ?? ''}</small>`;
  return html`<ul class="changes">
      ${lost.map(name => html`<li dir="auto"><code>${name}</code> ${old(name, was[name])}</li>`)}
      ${names.map(name => change(name, name in was ? html`${old(name, was[name])} → ` : nothing, is[name]))}
    </ul>
    ${detail ? html`<small>${detail}</small>` : nothing}`;
}

/** @param {string} name @param {unknown} before @param {unknown} value */
const change = (name, before, value) =>
  html`<li dir="auto">
    <code>${name}</code> ${before}<ins title=${isId(name, value) ? value : nothing}>${shown(name, value)}</ins>
  </li>`;

/** @param {string} name @param {unknown} value */
const old = (name, value) => html`<del title=${isId(name, value) ? value : nothing}>${shown(name, value)}</del>`;

/** @param {unknown} value */
const isNothing = value =>
  value === null ||
  value === undefined ||
  value === false ||
  (typeof value === 'object' && Object.keys(value).length === 0);

/** Whether it is the id of a key. An alias may look like one. @param {string} name @param {unknown} value */
const isId = (name, value) => !name.endsWith('alias') && typeof value === 'string' && isKeyId(value);

/** @param {string} name @param {unknown} value */
function shown(name, value) {
  if (value === null || value === undefined) return text.none;
  if (typeof value === 'boolean') return value ? text.yes : text.no;
  if (Array.isArray(value)) return value.join(', ') || text.none;
  if (typeof value === 'object') return JSON.stringify(value);
  return isId(name, value) ? shortId(String(value)) : String(value);
}
