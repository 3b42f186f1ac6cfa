// Signing in: a choice of people in standalone mode, a pasted token elsewhere.

import { html, nothing } from './lit.js';
import { PageElement } from './element.js';
import { nameOf } from './format.js';
import { mockToken, session } from './session.js';
import { failed, field } from './ui.js';
import { text } from './text.js';

const { signIn: words } = text;

class SignIn extends PageElement {
  stores = [session];
  isAgain = false;

  firstUpdated() {
    /** @type {HTMLElement | null} */ (this.querySelector('[autofocus]'))?.focus();
  }

  /** @param {SubmitEvent} event */
  #submitted(event) {
    event.preventDefault();
    const token = String(new FormData(/** @type {HTMLFormElement} */ (event.target)).get('token')).trim();
    if (token) session.signIn(token);
  }

  render() {
    const { people } = session.settings;
    return html`<section class="sign-in" aria-busy=${session.isConfirming} aria-labelledby="sign-in-heading">
      <h1 id="sign-in-heading">${words.title}</h1>
      ${this.isAgain ? html`<p role="status">${words.expired}</p>` : nothing}
      ${
        people.length
          ? html`<p>${words.standalone}</p>
              <div class="people">
                ${people.map(
                  (person, index) =>
                    html`<button
                      type="button"
                      ?autofocus=${index === 0}
                      @click=${() => session.signIn(mockToken(person.userId))}
                    >
                      <b>${nameOf(person.userId)}</b
                      ><small>${words.roles[/** @type {'member'} */ (person.role)]}</small>
                    </button>`,
                )}
              </div>`
          : html`<form @submit=${this.#submitted}>
              ${field(
                words.label,
                html`<input name="token" type="password" autocomplete="off" autofocus required />`,
                words.token,
              )}
              <button class="primary">${words.submit}</button>
            </form>`
      }
      ${this.#failure()}
      ${
        this.isAgain
          ? html`<button type="button" class="quiet" @click=${() => this.dispatchEvent(new Event('leave'))}>
              ${text.signOut}
            </button>`
          : nothing
      }
    </section>`;
  }

  #failure() {
    const { failure } = session;
    if (!failure) return nothing;
    if (failure.status === 401) return html`<div class="notice bad" role="alert">${words.refused}</div>`;
    return failed(words.failed, failure, () => session.retry());
  }
}
customElements.define('sign-in', SignIn);
