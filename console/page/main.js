// The frame: who is signed in, which view is shown, shortcuts.

import { html, keyed, nothing, repeat } from './lit.js';
import { ConfirmDialog, open } from './dialog.js';
import { PageElement } from './element.js';
import { help } from './help.js';
import { nameOf } from './format.js';
import { notices } from './notices.js';
import { secrets } from './secrets.js';
import { hasKeys, may, session } from './session.js';
import { FOR_ALL, FOR_ONESELF, FOR_SOME, NEEDS, isOwned, ownedHref, routeNow } from './route.js';
import { owned } from './owned.js';
import { owners } from './owners.js';
import { forAdminsOnly, outdated, refused } from './refusals.js';
import { skeleton } from './ui.js';
import { text } from './text.js';
import './notice-list.js';
import './secret-card.js';
import './sign-in.js';

const { nav } = text;
/** What few look at is loaded when they go there. @type {Record<string, () => Promise<unknown>>} */
const MODULES = {
  devices: () => import('./devices-view.js'),
  users: () => import('./users-view.js'),
  user: () => import('./user-view.js'),
  workloads: () => import('./workloads-view.js'),
  cleanup: () => import('./cleanup-view.js'),
  audit: () => import('./audit-view.js'),
  health: () => import('./health-view.js'),
};

/** @typedef {import('./session.js').Person} Person */

class Console extends PageElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    route: { state: true },
    isOffline: { state: true },
  };

  constructor() {
    super();
    this.isOffline = !navigator.onLine;
    this.route = routeNow();
  }

  stores = [secrets, owners];

  async connectedCallback() {
    super.connectedCallback();
    session.addEventListener('change', () => this.#sessionChanged());
    addEventListener('hashchange', () => this.#go());
    addEventListener('keydown', event => this.#pressed(event));
    addEventListener('online', () => this.#online());
    addEventListener('offline', () => (this.isOffline = true));
    await session.start();
  }

  /** What could not be loaded is loaded now. */
  #online() {
    this.isOffline = false;
    for (const view of this.querySelectorAll('[data-view]')) {
      if (/** @type {any} */ (view).failure) /** @type {any} */ (view).reload();
    }
  }

  /** What one person began ends with them. */
  async #sessionChanged() {
    this.requestUpdate();
    if (session.person === this.#shown) return;
    this.#shown = session.person;
    notices.clear();
    owners.load();
    await this.#go();
  }

  /** @type {Person | null} */ #shown = null;

  /** Dialogs are above whatever else is open. */
  updated() {
    document.title = `${this.#title} · ${text.name}`;
    const dialog = /** @type {HTMLDialogElement | null} */ (this.querySelector('dialog.again'));
    if (dialog && !dialog.open) dialog.showModal();
  }

  async #go() {
    // What was opened over one view does not belong to another.
    for (const opened of this.querySelectorAll('dialog:not(.again)')) /** @type {HTMLDialogElement} */ (opened).close();
    for (const menu of this.querySelectorAll('.menu')) /** @type {HTMLElement} */ (menu).hidePopover();
    this.route = routeNow();
    const { name } = this.route;
    if (session.person && !hasKeys(session.person) && !NEEDS[name]) return location.replace('#/users');
    await (isOwned(name) ? owners.awaited : this.#load(name));
    await this.#focusHeading();
  }

  get #title() {
    const { name, userId } = this.route;
    if (!session.person) return text.signIn.title;
    if (name === 'user') return nameOf(userId);
    const title = nav[/** @type {'keys'} */ (name)];
    return this.#isMine ? title : `${title}: ${owners.titleOf(this.route.owner)}`;
  }

  /** Whether what is shown is of nobody else. */
  get #isMine() {
    return ['', session.person?.subject].includes(this.route.owner);
  }

  /** Whoever hears the page hears where they are, and goes on from there. */
  async #focusHeading() {
    await this.updateComplete;
    const view = /** @type {import('lit').LitElement | null} */ (this.querySelector('main > :is([data-view])'));
    await view?.updateComplete;
    // The focus stays in the list of owners while somebody chooses there.
    if (document.querySelector('dialog[open], owner-switch :focus')) return;
    /** @type {HTMLElement | null} */ (this.querySelector('main h1'))?.focus();
  }

  /** After a deployment, a module may be gone, or not fit those that are here. @param {string} name of a view */
  async #load(name) {
    if (!MODULES[name] || this.#modules.get(name) === 'loaded') return;
    this.#modules.delete(name);
    this.requestUpdate();
    this.#modules.set(
      name,
      await MODULES[name]().then(
        () => 'loaded',
        () => 'gone',
      ),
    );
    this.requestUpdate();
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest('input, select, textarea, dialog, .menu'))
      return;
    const after = this.#prefix === 'g' ? { k: 'keys', s: 'spending' }[event.key] : undefined;
    this.#prefix = event.key;
    if (after) location.hash = ownedHref(after, this.route.owner);
    else if (event.key === '/') this.#focus(event, '[data-filter]');
    else if (event.key === 'c')
      (event.preventDefault(), /** @type {any} */ (this.querySelector('keys-view'))?.create());
    else if (event.key === '?') this.#help();
  }

  /** Whether the module of a view is there. @type {Map<string, string>} */ #modules = new Map();
  #prefix = '';

  /** @param {Event} event @param {string} selector */
  #focus(event, selector) {
    event.preventDefault();
    /** @type {HTMLElement | null} */ (this.querySelector(selector))?.focus();
  }

  #help() {
    /** @type {HTMLDialogElement | null} */ (this.querySelector('dialog.help'))?.showModal();
  }

  /** The focus goes to the next secret, or to the key. @param {string} keyId */
  async #saved(keyId) {
    secrets.acknowledge(keyId);
    await this.updateComplete;
    await /** @type {any} */ (this.querySelector('keys-view'))?.drawn;
    const next =
      this.querySelector('secret-card section') ??
      this.querySelector(`[data-key="${keyId}"]`) ??
      this.querySelector('main');
    /** @type {HTMLElement | null} */ (next)?.focus();
  }

  /** Asks first, where a secret would be lost. */
  #signOut() {
    const { subject } = /** @type {Person} */ (session.person);
    const kept = secrets.of(subject);
    if (!kept.length) return session.signOut();
    open(new ConfirmDialog(), {
      heading: text.secret.leaveTitle(kept.map(one => one.alias || text.keys.unnamed)),
      lead: text.secret.leaveLead(kept.length),
      button: text.secret.leave,
      act: async () => {
        secrets.forget(subject);
        session.signOut();
      },
    });
  }

  #switchTheme() {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === 'dark' ? 'light' : 'dark';
    localStorage.setItem('litellm-console-theme', root.dataset.theme);
    this.requestUpdate();
  }

  render() {
    const { person, failure } = session;
    if (!session.isStarted && !failure) return html`<div class="app" aria-busy="true"></div>`;
    if (!person && failure && (failure.status === 403 || !session.isStarted))
      return html`<main class="alone">${refused(failure)}</main>`;
    if (!person) return html`<main class="alone"><sign-in></sign-in></main>`;
    const further = FOR_SOME.filter(name => may(person, NEEDS[name]));
    const role = may(person, 'users.update') ? text.admin : further.length ? text.auditor : '';
    return html`<a
        class="skip"
        href="#content"
        @click=${(/** @type {MouseEvent} */ event) => this.#focus(event, 'main')}
        >${text.skip}</a
      >
      <div class="app">
        <nav aria-label=${nav.label}>
          <div class="brand"><span class="mark" aria-hidden="true">⌁</span>${text.name}</div>
          ${hasKeys(person) ? [...FOR_ALL, ...FOR_ONESELF].map(name => this.#link(name)) : nothing}
          ${
            further.length
              ? html`<h2>${nav.admin}</h2>
                  ${further.map(name => this.#link(name))}`
              : nothing
          }
          <div class="who">
            <b>${nameOf(person.subject)}</b><span>${person.subject}${role ? ` · ${role}` : ''}</span>
            <div>
              <button type="button" class="quiet" aria-label=${text.theme.toggle} @click=${this.#switchTheme}>
                ${document.documentElement.dataset.theme === 'dark' ? text.theme.light : text.theme.dark}
              </button>
              <button type="button" class="quiet" @click=${() => this.#signOut()}>${text.signOut}</button>
            </div>
          </div>
        </nav>
        <main id="content" tabindex="-1">
          ${this.isOffline ? html`<div class="notice warn" role="status">${text.offline}</div>` : nothing}${repeat(
            secrets.of(person.subject),
            kept => kept.keyId,
            kept => html`<secret-card .kept=${kept} @done=${() => this.#saved(kept.keyId)}></secret-card>`,
          )}${keyed(person, this.#view(person))}
        </main>
      </div>
      <notice-list></notice-list>
      ${session.isAsking ? this.#again() : nothing} ${help()}`;
  }

  /** The session has expired. */
  #again() {
    return html`<dialog
      class="again"
      aria-labelledby="sign-in-heading"
      closedby="none"
      @close=${() => this.requestUpdate()}
    >
      <sign-in .isAgain=${true} @leave=${() => this.#signOut()}></sign-in>
    </dialog>`;
  }

  /** @param {keyof typeof nav} name */
  #link(name) {
    const isHere = this.route.name === name || (name === 'users' && this.route.name === 'user');
    const owner = isOwned(name) ? this.route.owner : '';
    return html`<a href=${ownedHref(name, owner)} aria-current=${isHere ? 'page' : nothing}>${nav[name]}</a>`;
  }

  /** @param {Person} person */
  #view(person) {
    const { name: route, userId, keyId, code } = this.route;
    if (NEEDS[route] && !may(person, NEEDS[route])) return forAdminsOnly(nav[/** @type {'users'} */ (route)]);
    const module = MODULES[route] ? this.#modules.get(route) : 'loaded';
    if (module === 'gone') return outdated();
    if (module !== 'loaded' || (isOwned(route) && owners.isAwaited)) return skeleton();
    switch (route) {
      case 'users':
        return html`<users-view></users-view>`;
      case 'user':
        return keyed(location.hash, html`<user-view .userId=${userId} .me=${person} .keyId=${keyId}></user-view>`);
      case 'devices':
        return keyed(location.hash, html`<devices-view .code=${code} .me=${person}></devices-view>`);
      case 'workloads':
        return html`<workloads-view></workloads-view>`;
      case 'cleanup':
        return html`<cleanup-view .me=${person}></cleanup-view>`;
      case 'audit':
        return html`<audit-view></audit-view>`;
      case 'health':
        return html`<health-view></health-view>`;
      default:
        return owned(person, route, this.#isMine ? person.subject : this.route.owner);
    }
  }
}
customElements.define('llm-console', Console);
