// Deletes a key, once its name is typed; with the key that it replaced, if that one still works.

import { html, nothing } from './lit.js';
import { ConfirmDialog, open } from './dialog.js';
import { keyName } from './key-facts.js';
import { session } from './session.js';
import { text } from './text.js';

const { dialogs: words } = text;

/**
 * @param {string} userId @param {any} row of the key
 * @param {() => void} done @param {() => void} gone if it was deleted before
 */
export function confirmDeletion(userId, row, done, gone) {
  const name = keyName(row);
  const [replaced] = row.pendingRevocations ?? [];
  open(new ConfirmDialog(), {
    heading: words.removeTitle(name),
    lead: words.removeLead(session.soon),
    more: () => (replaced ? choices() : nothing),
    word: name,
    button: words.removeButton(name),
    undone: text.keys.notDeleted(name),
    gone,
    act: async (api, form) => {
      const query = form.get('replaced') === 'delete' ? { replaced: 'delete' } : {};
      await api.call('DELETE', ['users', userId, 'keys', row.token], { query });
    },
    done,
  });
}

/** What becomes of the key that it replaced. */
const choices = () =>
  html`<fieldset>
    <legend>${words.replacedTitle}</legend>
    <div class="choices">
      ${choice('keep', words.replacedKeep)}${choice('delete', words.replacedDelete(session.soon))}
    </div>
  </fieldset>`;

/** @param {string} value @param {string} label */
const choice = (value, label) =>
  html`<label><input type="radio" name="replaced" value=${value} ?checked=${value === 'keep'} />${label}</label>`;
