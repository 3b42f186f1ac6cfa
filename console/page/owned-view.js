// A view of what belongs to one owner of keys. Each owner has its own view: no answer about one is drawn for another.

import { html } from './lit.js';
import { owners } from './owners.js';
import { session } from './session.js';
import { text } from './text.js';
import { View } from './view.js';

/** What another try cannot change. */
export const REFUSALS = [400, 403];

export class OwnedView extends View {
  stores = [owners];
  userId = '';

  get isOwn() {
    return this.userId === session.person?.subject;
  }

  /** A link may be old, or to what somebody else manages: another try does not help. @param {any} failure */
  broken(failure) {
    if (this.isOwn || ![...REFUSALS, 404].includes(failure.status)) return super.broken(failure);
    return html`<div class="notice plain" role="alert">
      <span>${failure.message}</span> <a href="#/keys">${text.toKeys}</a>
    </div>`;
  }
}
