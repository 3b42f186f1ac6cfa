// What the keyboard does, as a dialog.

import { html } from './lit.js';
import { text } from './text.js';

export const help = () =>
  html`<dialog class="help" aria-labelledby="help-heading">
    <h2 id="help-heading">${text.shortcuts.title}</h2>
    <dl>
      ${text.shortcuts.rows.map(
        ([key, what]) =>
          html`<div>
            <dt><kbd>${key}</kbd></dt>
            <dd>${what}</dd>
          </div>`,
      )}
    </dl>
    <form method="dialog"><button autofocus>${text.close}</button></form>
  </dialog>`;
