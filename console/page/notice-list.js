// What happened, at the bottom of the window.

import { html, nothing, repeat } from './lit.js';
import { PageElement } from './element.js';
import { notices } from './notices.js';
import { requestId } from './ui.js';
import { text } from './text.js';

class NoticeList extends PageElement {
  stores = [notices];

  /** @param {import('./notices.js').Notice} notice */
  #repeat(notice) {
    notices.dismiss(notice);
    notice.again?.act();
  }

  render() {
    return html`<section class="notices" aria-label=${text.notices}>
      ${repeat(
        notices.all,
        notice => notice,
        notice => this.#notice(notice),
      )}
    </section>`;
  }

  /** @param {import('./notices.js').Notice} notice */
  #notice(notice) {
    const again = html`<button type="button" @click=${() => this.#repeat(notice)}>${notice.again?.label}</button>`;
    return html`<div class="notice ${notice.kind}" role=${notice.kind === 'bad' ? 'alert' : 'status'}>
      <div><strong>${notice.title}.</strong> ${notice.failure?.message}</div>
      ${requestId(notice.failure)}
      <div class="row">
        ${notice.again ? again : nothing}
        <button type="button" class="quiet" @click=${() => notices.dismiss(notice)}>${text.dismiss}</button>
      </div>
    </div>`;
  }
}
customElements.define('notice-list', NoticeList);
