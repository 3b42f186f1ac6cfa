// Signed-in devices: what asks to be one, and those that are.

import { html, repeat } from './lit.js';
import { ConfirmDialog, open } from './dialog.js';
import { exact, when } from './format.js';
import { owners } from './owners.js';
import { session } from './session.js';
import { empty, heads, table } from './ui.js';
import { text } from './text.js';
import { COUNTDOWN, View } from './view.js';
import './device-request.js';

const { devices: words } = text;

class DevicesView extends View {
  heading = words.title;
  lead = words.lead;
  period = COUNTDOWN;
  code = '';
  /** @type {any} */ me = null;
  /** @type {any[]} */ sessions = [];
  stores = [owners];

  async load() {
    const { sessions } = await this.api.read(['sessions']);
    return { sessions };
  }

  content() {
    return html`<device-request .code=${this.code} .me=${this.me} .decided=${() => void this.reload()}></device-request>
      <section class="card">
        <div class="tools"><h2>${words.list.title}</h2></div>
        ${this.sessions.length ? this.#table() : empty(words.list.none)}
      </section>`;
  }

  #table() {
    const { title, device, owner, used, ends, address, action } = words.list;
    const head = heads([[device], [owner, 'if-2'], [address, 'if-3'], [used], [ends, 'if-2'], [action]]);
    return table(
      title,
      head,
      repeat(
        this.sessions,
        row => row.id,
        row => this.#row(row),
      ),
    );
  }

  /** @param {any} row a `Session` of the contract */
  #row(row) {
    const name = nameOf(row);
    const { used, ends, me, signOutOf, signOut } = words.list;
    return html`<tr>
      <td class="first">
        <div class="name" dir="auto">${name}</div>
        <div class="sub" dir="auto">${row.tool ?? row.clientId}</div>
      </td>
      <td class="if-2" title=${row.owner}>${row.owner === this.me.subject ? me : owners.titleOf(row.owner)}</td>
      <td class="if-3">${row.address ?? '–'}</td>
      <td data-label=${used} title=${exact(row.lastUsedAt)}>${when(row.lastUsedAt)}</td>
      <td class="if-2" data-label=${ends} title=${exact(row.expiresAt)}>${when(row.expiresAt)}</td>
      <td>
        <button type="button" class="quiet" aria-label=${signOutOf(name)} @click=${() => this.#end(row)}>
          ${signOut}
        </button>
      </td>
    </tr>`;
  }

  /** @param {any} row */
  #end(row) {
    const name = nameOf(row);
    open(new ConfirmDialog(), {
      heading: words.end.title(name),
      lead: words.end.lead(session.soon),
      button: words.end.button(name),
      undone: words.end.undone(name),
      gone: () => void this.reload(),
      act: async api => {
        await api.call('DELETE', ['sessions', row.id]);
      },
      done: () => void this.reload(),
    });
  }
}
customElements.define('devices-view', DevicesView);

/** @param {any} row */
const nameOf = ({ deviceName, clientId }) => deviceName ?? clientId;
