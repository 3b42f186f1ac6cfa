// The keys of groups and components whose secret somebody received, for admins: those want rotating when they leave.

import { html, nothing, repeat } from './lit.js';
import { exact, nameOf, shortId, when } from './format.js';
import { hrefOf } from './route.js';
import { empty, heads, table } from './ui.js';
import { text } from './text.js';
import { View } from './view.js';

const { knownSecrets: words } = text;

/** @typedef {{owner: string, keyId: string, alias: string | null, receivedAt?: string}} Known of `KnownSecrets` */

class KnownSecrets extends View {
  heading = words.title;
  userId = '';
  /** @type {Known[]} */ keys = [];
  /** @type {Known[]} those of which nobody knows who received them */ unknown = [];

  connectedCallback() {
    this.lead = words.lead(nameOf(this.userId));
    super.connectedCallback();
  }

  async load() {
    const { keys, unknown } = await this.api.read(['users', this.userId, 'known-secrets']);
    return { keys, unknown };
  }

  content() {
    return html`<section class="card">
      ${this.keys.length ? rowsOf(words.title, this.keys, true) : empty(words.none(nameOf(this.userId)))}
      ${this.unknown.length ? this.#unknown() : nothing}
    </section>`;
  }

  #unknown() {
    return html`<details class="more">
      <summary>${words.unknown(this.unknown.length)}</summary>
      ${rowsOf(words.unknown(this.unknown.length), this.unknown, false)}
    </details>`;
  }
}
customElements.define('known-secrets', KnownSecrets);

/** @param {string} label @param {Known[]} keys @param {boolean} isDated whether it is known when they were received */
function rowsOf(label, keys, isDated) {
  const { columns } = words;
  const row = (/** @type {Known} */ { owner, keyId, alias, receivedAt = '' }) =>
    html`<tr>
      <td class="first">
        <a class="name" dir="auto" href=${hrefOf(owner, keyId)} title=${keyId}>${alias ?? shortId(keyId)}</a>
      </td>
      <td class="long"><a href=${hrefOf(owner)}>${owner}</a></td>
      ${
        isDated ? html`<td data-label=${columns.received} title=${exact(receivedAt)}>${when(receivedAt)}</td>` : nothing
      }
    </tr>`;
  return table(
    label,
    heads([columns.key, columns.owner, ...(isDated ? [columns.received] : [])].map(word => [word])),
    repeat(keys, ({ keyId }) => keyId, row),
  );
}
