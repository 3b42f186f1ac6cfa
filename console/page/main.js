// The frame: who is signed in, which view is shown, shortcuts.

import { LitElement, html, keyed, nothing } from './lit.js';
import { read } from './api.js';
import { nameOf } from './format.js';
import { session } from './session.js';
import { failed } from './ui.js';
import { text } from './text.js';
import './keys-view.js';
import './spending-view.js';
import './sign-in.js';

const { nav, signIn } = text;
const FOR_ALL = /** @type {const} */ (['keys', 'spending']);
const FOR_ADMINS = /** @type {const} */ (['users', 'cleanup', 'audit', 'health']);
/** What only admins see is loaded when they go there. @type {Record<string, () => Promise<unknown>>} */
const MODULES = {
  users: () => import('./users-view.js'),
  user: () => import('./user-view.js'),
  cleanup: () => import('./cleanup-view.js'),
  audit: () => import('./audit-view.js'),
  health: () => import('./health-view.js'),
};

/** @param {string} hash which may be anything that somebody sent as a link */
function decoded(hash) {
  try {
    return decodeURI(hash);
  } catch {
    return '';
  }
}

/** The route in the address, such as #/users/user:default/alice. */
function routeNow() {
  const [, name = '', ...rest] = decoded(location.hash).split('/');
  if (name === 'users' && rest.length) return { name: 'user', userId: rest.join('/') };
  return { name: [...FOR_ALL, ...FOR_ADMINS].some(known => known === name) ? name : 'keys', userId: '' };
}

class Console extends LitElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = { me: { state: true }, route: { state: true }, failure: { state: true }, isStarted: { state: true }, isOffline: { state: true } };

  constructor() {
    super();
    /** @type {any} */ this.me = null;
    /** @type {any} */ this.failure = null;
    this.isStarted = false;
    this.isOffline = !navigator.onLine;
    this.route = routeNow();
    this.wasRefused = false;
  }

  createRenderRoot() {
    return this;
  }

  async connectedCallback() {
    super.connectedCallback();
    session.addEventListener('change', () => this.#sessionChanged());
    addEventListener('hashchange', () => this.#go());
    addEventListener('keydown', event => this.#pressed(event));
    addEventListener('online', () => (this.isOffline = false));
    addEventListener('offline', () => (this.isOffline = true));
    await this.#start();
  }

  async #start() {
    try {
      await session.start();
      this.failure = null;
    } catch {
      this.failure = { message: text.errors.unreachable };
    }
    this.isStarted = true;
  }

  async #sessionChanged() {
    this.requestUpdate();
    if (session.isAsking || session.subject !== null) return;
    for (const dialog of this.querySelectorAll('dialog')) dialog.close();
    this.me = null;
    this.failure = null;
    if (session.token === null) return;
    try {
      const me = await read(['me']);
      await this.#go();
      this.me = me;
      session.subject = me.subject;
      this.wasRefused = false;
    } catch (error) {
      this.failure = error;
      if (/** @type {any} */ (error).status === 401) {
        this.wasRefused = true;
        session.signOut();
      }
    }
  }

  /** Above whatever dialog is open. */
  updated() {
    const dialog = /** @type {HTMLDialogElement | null} */ (this.querySelector('dialog.again'));
    if (dialog && !dialog.open) dialog.showModal();
  }

  get #isAdmin() {
    return this.me?.roles.includes('admin');
  }

  async #go() {
    const route = routeNow();
    await MODULES[route.name]?.();
    this.route = route;
    await this.updateComplete;
    document.title = `${this.querySelector('h1')?.textContent ?? ''} · ${text.name}`;
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest('input, select, textarea, dialog, .menu')) return;
    const after = this.#prefix === 'g' ? { k: '#/keys', s: '#/spending' }[event.key] : undefined;
    this.#prefix = event.key;
    if (after) location.hash = after;
    else if (event.key === '/') this.#focus(event, '[data-filter]');
    else if (event.key === 'c') (event.preventDefault(), /** @type {any} */ (this.querySelector('keys-view'))?.create());
    else if (event.key === '?') this.#help();
  }

  #prefix = '';

  /** @param {KeyboardEvent} event @param {string} selector */
  #focus(event, selector) {
    event.preventDefault();
    /** @type {HTMLElement | null} */ (this.querySelector(selector))?.focus();
  }

  #help() {
    /** @type {HTMLDialogElement | null} */ (this.querySelector('dialog.help'))?.showModal();
  }

  #switchTheme() {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === 'dark' ? 'light' : 'dark';
    localStorage.setItem('litellm-console-theme', root.dataset.theme);
    this.requestUpdate();
  }

  render() {
    if (!this.isStarted) return html`<div class="app" aria-busy="true"></div>`;
    if (!this.me && this.failure && this.failure.status !== 401) return html`<main class="alone">${this.#refused()}</main>`;
    if (!this.me) return html`<main class="alone">${session.token ? nothing : html`<sign-in ?wasRefused=${this.wasRefused}></sign-in>`}</main>`;
    return html`<a class="skip" href="#content" @click=${(/** @type {MouseEvent} */ event) => (event.preventDefault(), /** @type {any} */ (this.querySelector('main')).focus())}>${text.skip}</a>
      <div class="app">
        <nav aria-label=${nav.label}><div class="brand"><span class="mark" aria-hidden="true">⌁</span>${text.name}</div>
          ${FOR_ALL.map(name => this.#link(name))}
          ${this.#isAdmin ? html`<h2>${nav.admin}</h2>${FOR_ADMINS.map(name => this.#link(name))}` : nothing}
          <div class="who"><b>${nameOf(this.me.subject)}</b><span>${this.me.subject}${this.#isAdmin ? ` · ${text.admin}` : ''}</span>
            <div><button type="button" class="quiet" aria-label=${text.theme.toggle} @click=${this.#switchTheme}>${document.documentElement.dataset.theme === 'dark' ? text.theme.light : text.theme.dark}</button>
            <button type="button" class="quiet" @click=${() => session.signOut()}>${text.signOut}</button></div></div></nav>
        <main id="content" tabindex="-1">${this.isOffline ? html`<div class="notice warn" role="status">${text.offline}</div>` : nothing}${this.#view()}</main>
      </div>
      ${session.isAsking ? html`<dialog class="again" aria-labelledby="sign-in-heading" @cancel=${(/** @type {Event} */ event) => event.preventDefault()}><sign-in .isAgain=${true}></sign-in></dialog>` : nothing}
      <dialog class="help" aria-labelledby="help-heading"><h2 id="help-heading">${text.shortcuts.title}</h2>
        <dl>${text.shortcuts.rows.map(([key, what]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl>
        <form method="dialog"><button autofocus>${text.close}</button></form></dialog>`;
  }

  #refused() {
    const isOutsider = this.failure.status === 403;
    return html`<section class="sign-in"><h1>${isOutsider ? signIn.outsider : text.errors.title}</h1>
      ${isOutsider ? html`<p>${signIn.ask(session.settings.contact)}</p><p class="sub">${this.failure.message}</p><button type="button" @click=${() => session.signOut()}>${text.signOut}</button>`
        : failed(this.failure, () => (session.token ? this.#sessionChanged() : this.#start()))}</section>`;
  }

  /** @param {keyof typeof nav} name */
  #link(name) {
    const isHere = this.route.name === name || (name === 'users' && this.route.name === 'user');
    return html`<a href="#/${name}" aria-current=${isHere ? 'page' : nothing}>${nav[name]}</a>`;
  }

  #view() {
    const { subject } = this.me;
    switch (this.#isAdmin || FOR_ALL.some(name => name === this.route.name) ? this.route.name : 'keys') {
      case 'spending': return html`<spending-view .userId=${subject}></spending-view>`;
      case 'users': return html`<users-view></users-view>`;
      case 'user': return keyed(this.route.userId, html`<user-view .userId=${this.route.userId} .me=${this.me}></user-view>`);
      case 'cleanup': return html`<cleanup-view></cleanup-view>`;
      case 'audit': return html`<audit-view></audit-view>`;
      case 'health': return html`<health-view></health-view>`;
      default: return html`<keys-view .userId=${subject} .me=${this.me}></keys-view>`;
    }
  }
}
customElements.define('llm-console', Console);
