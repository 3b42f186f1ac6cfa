// One user, for admins: limits, off-boarding, keys, spending, and what they know or whose name they have.

import { html, nothing } from './lit.js';
import { ConfirmDialog, open } from './dialog.js';
import { isUser, money, nameOf } from './format.js';
import { LimitsForm } from './limits-form.js';
import { notices } from './notices.js';
import { may, session } from './session.js';
import { field, plain } from './ui.js';
import { text } from './text.js';
import { View } from './view.js';
import { userPill } from './user-facts.js';
import './keys-view.js';
import './known-secrets.js';
import './spending-view.js';

const { users: words } = text;

class UserView extends View {
  userId = '';
  /** The key that the link is about. */
  keyId = '';
  /** @type {any} */ me = null;
  /** @type {any} */ user = null;
  /** @type {string | null} */ etag = null;

  /** @type {string | null} why the last run would off-board a group or component */ reason = null;

  async load() {
    if (!this.#isPerson) void this.loadPart('reason', () => this.#readReason());
    const { body, etag } = await this.api.call('GET', ['users', this.userId]);
    return { user: body, etag };
  }

  get #isPerson() {
    return isUser(this.userId);
  }

  async #readReason() {
    const { lastReport } = await this.api.read(['cleanup']);
    const isThis = (/** @type {any} */ { userId, action }) => userId === this.userId && action !== 'restore';
    return lastReport?.plan?.entries.find(isThis)?.reason ?? null;
  }

  connectedCallback() {
    this.heading = nameOf(this.userId);
    this.lead = this.userId;
    super.connectedCallback();
  }

  /** A link may be old, or wrong: another try does not help. @param {any} failure */
  broken(failure) {
    if (failure.status !== 404) return super.broken(failure);
    return html`<div class="notice plain">${words.unknown} <a href="#/users">${words.back}</a></div>`;
  }

  actions() {
    const accept = html`<button type="button" @click=${() => this.#accept()}>${words.accept}</button>`;
    const edit = html`<button type="button" @click=${() => this.#edit()}>${words.editBudget}</button>
      <button type="button" @click=${() => this.#resetSpend()}>${words.resetSpend}</button>
      ${this.#isPerson ? nothing : accept}`;
    const offboard = html`<button type="button" class="dangerous" @click=${() => this.#offboard()}>
      ${words.offboard}
    </button>`;
    return html`<a class="button" href="#/users">${words.back}</a> ${may(this.me, 'users.update') ? edit : nothing}
      ${may(this.me, 'users.delete') ? offboard : nothing}`;
  }

  content() {
    const isReader = this.#isPerson && may(this.me, 'audit.read');
    return html`<p class="summary">${userPill(this.user)} ${this.#isPerson ? nothing : this.#uid()}</p>
      ${this.reason ? plain(words.offboarded(this.reason)) : nothing}
      <div class="nested">
        <keys-view
          .userId=${this.userId}
          .me=${this.me}
          .keyId=${this.keyId}
          .heading=${text.keys.title}
          .lead=${text.keys.leadOf(nameOf(this.userId))}
        ></keys-view>
        <spending-view .userId=${this.userId} .isNested=${true}></spending-view>
        ${isReader ? html`<known-secrets .userId=${this.userId}></known-secrets>` : nothing}
      </div>`;
  }

  #uid() {
    return html`<small>${words.uid} <code>${this.user.entityUid ?? text.none}</code></small>`;
  }

  /** Of a name that is registered again, only an admin can say whether it is the same. */
  #accept() {
    const name = nameOf(this.userId);
    const input = html`<input name="uid" required maxlength="128" autocomplete="off" spellcheck="false" autofocus />`;
    open(new ConfirmDialog(), {
      heading: words.acceptTitle(name),
      lead: words.acceptLead(name),
      more: () => field(words.newUid, input, words.newUidHint),
      word: name,
      button: words.acceptButton(name),
      undone: words.notAccepted(name),
      gone: () => this.#gone(),
      act: async (api, form) => {
        const body = { entityUid: String(form.get('uid')).trim() };
        await api.call('PATCH', ['users', this.userId], { body });
        await this.#show();
      },
    });
  }

  #edit() {
    open(new LimitsForm(), { gone: () => this.#gone(), row: this.user, etag: this.etag, changed: () => this.#show() });
  }

  #resetSpend() {
    const name = nameOf(this.userId);
    open(new ConfirmDialog(), {
      heading: words.resetTitle(name),
      lead: words.resetLead(money(this.user.spend)),
      button: words.resetSpend,
      undone: words.notReset(name),
      gone: () => this.#gone(),
      act: async api => {
        await api.call('PATCH', ['users', this.userId], { body: { spend: 0 } });
        await this.#show();
      },
    });
  }

  /** Reads again what is shown here and below. */
  async #show() {
    await this.reload();
    for (const view of this.querySelectorAll('keys-view, spending-view')) /** @type {View} */ (view).reload();
  }

  #gone() {
    notices.add({ kind: 'good', title: words.gone(nameOf(this.userId)) });
    location.hash = '#/users';
  }

  async #offboard() {
    try {
      const { body } = await this.api.call('GET', ['users', this.userId, 'keys']);
      const name = nameOf(this.userId);
      open(new ConfirmDialog(), {
        heading: words.offboardTitle(name),
        lead: words.offboardLead(body.keys.length, money(this.user.spend), session.soon, this.#isPerson),
        word: name,
        button: words.offboardButton(name),
        undone: words.notOffboarded(name),
        gone: () => this.#gone(),
        act: async api => {
          await api.call('DELETE', ['users', this.userId]);
          location.hash = '#/users';
        },
      });
    } catch (error) {
      this.failed(words.notOffboarded(nameOf(this.userId)), error, {
        label: words.offboardAgain,
        act: () => this.#offboard(),
      });
    }
  }
}
customElements.define('user-view', UserView);
