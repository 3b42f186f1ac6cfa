// What those see who may not see what the address names, or nothing at all.

import { html } from './lit.js';
import { session } from './session.js';
import { failed } from './ui.js';
import { text } from './text.js';

const { nav, signIn } = text;

/** Why a token made nobody a person. @param {import('./http.js').ApiError} failure */
export function refused(failure) {
  const isOutsider = failure.status === 403;
  return html`<section class="sign-in">
    <h1>${isOutsider ? signIn.outsider : signIn.title}</h1>
    ${
      isOutsider
        ? html`<p>${signIn.ask(session.settings.contact)}</p>
            <p class="sub">${failure.message}</p>
            <button type="button" @click=${() => session.signOut()}>${text.signOut}</button>`
        : failed(signIn.failed, failure, () => session.retry())
    }
  </section>`;
}

/** @param {string | undefined} title */
export const forAdminsOnly = title =>
  html`<header class="page"><h1 tabindex="-1">${title ?? nav.users}</h1></header>
    <div class="notice plain">${text.onlyAdmins} <a href="#/keys">${text.toKeys}</a></div>`;

/** After a deployment, what a view is made of may be gone. */
export const outdated = () =>
  html`<div class="notice bad" role="alert">
    <strong>${text.errors.module}.</strong
    ><button type="button" @click=${() => location.reload()}>${text.errors.reload}</button>
  </div>`;
