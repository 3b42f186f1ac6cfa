// Reports a leaked key, whoever it belongs to.

import { html } from './lit.js';
import { FormDialog } from './dialog.js';
import { session } from './session.js';
import { field } from './ui.js';
import { text } from './text.js';

export class KeyReport extends FormDialog {
  heading = text.dialogs.reportTitle;
  lead = text.dialogs.reportLead(session.soon);
  undone = text.keys.notReported;
  danger = true;
  /** @type {() => void} */ reported = () => {};

  get doing() {
    return text.dialogs.reportButton;
  }

  get isComplete() {
    return this.value('key').trim() !== '';
  }

  fields() {
    return field(text.dialogs.reportLabel, html`<input name="key" type="password" autocomplete="off" autofocus />`);
  }

  /** @param {FormData} form */
  async submit(form) {
    await this.api.call('POST', ['keys', 'report'], { body: { key: String(form.get('key')).trim() } });
    this.close();
    this.reported();
  }
}
customElements.define('key-report', KeyReport);
