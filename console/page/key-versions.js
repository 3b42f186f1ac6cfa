// The versions of a key, as a dialog: who made each, when it ended, and its last use.

import { html, nothing } from './lit.js';
import { open } from './dialog.js';
import { exact, shortId, when } from './format.js';
import { keyName } from './key-facts.js';
import { heads, pill, table } from './ui.js';
import { text } from './text.js';
import { View } from './view.js';

const { versions: words } = text;
/** @type {Record<string, 'good' | 'plain'>} */
const KINDS = { active: 'good', deleted: 'plain' };

/** @typedef {any} Version `KeyVersion` */

class KeyVersions extends View {
  userId = '';
  /** @type {any} */ key = null;
  /** @type {Version[]} */ versions = [];
  unknownVersions = 0;
  lead = words.lead;

  connectedCallback() {
    this.heading = words.title(keyName(this.key));
    super.connectedCallback();
  }

  async load() {
    return this.api.read(['users', this.userId, 'keys', this.key.token, 'versions']);
  }

  firstUpdated() {
    this.querySelector('dialog')?.showModal();
  }

  content() {
    const { columns } = words;
    const head = heads(
      [columns.version, columns.status, columns.created, columns.end, columns.used].map(word => [word]),
    );
    return html`${table(this.heading, head, this.versions.map(row))}
    ${this.unknownVersions ? html`<p>${words.unknown(this.unknownVersions)}</p>` : nothing}`;
  }

  render() {
    return html`<dialog class="wide" aria-labelledby="versions-heading" @close=${() => this.remove()}>
      <h2 id="versions-heading">${this.heading}</h2>
      <p>${this.lead}</p>
      ${this.body()}
      <form method="dialog">
        <footer><button autofocus>${text.close}</button></footer>
      </form>
    </dialog>`;
  }
}
customElements.define('key-versions', KeyVersions);

/** @param {Version} version */
const row = ({ version, token, status, createdAt, createdBy, isRecorded, revokedAt, revokeAt, lastUsedAt }) =>
  html`<tr>
    <td class="first">
      <div class="name">${words.version(version)}</div>
      <div class="sub" title=${token}>${shortId(token)}</div>
    </td>
    <td class="state">${pill(KINDS[status] ?? 'bad', words.status[status] ?? status)}</td>
    <td data-label=${words.created} title=${exact(createdAt)}>
      ${createdAt ? when(createdAt) : '–'}
      <div class="sub" title=${isRecorded ? nothing : words.unrecorded}>${createdBy ?? words.byNobodyKnown}</div>
    </td>
    <td class=${revokedAt || revokeAt ? '' : 'nothing'} title=${exact(revokedAt ?? revokeAt)}>
      ${end(status, revokedAt, revokeAt)}
    </td>
    <td class=${lastUsedAt ? '' : 'nothing'} data-label=${words.used} title=${exact(lastUsedAt)}>
      ${lastUsedAt ? when(lastUsedAt) : '–'}
    </td>
  </tr>`;

/** @param {string} status @param {string | null} revokedAt @param {string | null} revokeAt */
function end(status, revokedAt, revokeAt) {
  if (revokedAt) return words.ended(when(revokedAt));
  if (revokeAt) return words.ends(when(revokeAt));
  return status === 'deleted' ? words.endUnknown : '–';
}

/** @param {string} userId @param {any} key */
export const showVersions = (userId, key) => open(new KeyVersions(), { userId, key });
