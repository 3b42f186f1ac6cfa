// The views of what belongs to one owner of keys, below the switch between owners.

import { html, keyed } from './lit.js';
import { owners } from './owners.js';
import { ownedHref } from './route.js';
import { text } from './text.js';
import './keys-view.js';
import './owner-switch.js';
import './spending-view.js';

/**
 * The switch stays, and keeps the focus; each owner has a view of its own.
 *
 * @param {import('./session.js').Person} person @param {string} name of the view @param {string} owner
 */
export function owned(person, name, owner) {
  const { subject } = person;
  const isSpending = name === 'spending';
  const words = isSpending ? text.spending : text.keys;
  const lead = owner === subject ? words.lead : words.leadOf(owners.titleOf(owner));
  const view = isSpending
    ? html`<spending-view .userId=${owner} .lead=${lead}></spending-view>`
    : html`<keys-view .userId=${owner} .me=${person} .lead=${lead}></keys-view>`;
  return html`<owner-switch
      .subject=${subject}
      .owner=${owner}
      .chosen=${(/** @type {string} */ ref) => (location.hash = ownedHref(name, ref === subject ? '' : ref))}
    ></owner-switch
    >${keyed(`${name} ${owner}`, view)}`;
}
