// Dialogs: a form that keeps what was typed when it fails, and returns the focus to where it was.

import { html, nothing } from './lit.js';
import { Api } from './api.js';
import { PageElement } from './element.js';
import { EndedError, TOO_OFTEN } from './http.js';
import { notices } from './notices.js';
import { failed } from './ui.js';
import { text } from './text.js';

const SECOND = 1000;

export class FormDialog extends PageElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = {
    isBusy: { state: true },
    failure: { state: true },
    waiting: { state: true },
  };

  constructor() {
    super();
    this.isBusy = false;
    this.waiting = 0;
    /** @type {any} */ this.failure = null;
  }

  #closed = new AbortController();
  /** What it has not sent when it is closed, it does not send any more. */
  api = new Api(this.#closed.signal);
  heading = '';
  lead = '';
  /** What a failure means, in words. */
  undone = '';
  /** What was done too often, in words. */
  tooOften = text.dialogs.tooOften;
  /** What to do, instead of showing the failure, if the thing is not there any more. @type {(() => void) | null} */
  gone = null;
  danger = false;

  /** What the button says that does it. @returns {string} */
  get doing() {
    return text.save;
  }

  /** Whether what was typed can be sent. */
  get isComplete() {
    return true;
  }

  /** @returns {unknown} */
  fields() {
    return nothing;
  }

  /** Another way to go on. @returns {unknown} */
  alternative() {
    return nothing;
  }

  /** Does it. An error stays in the dialog. @param {FormData} _form */
  async submit(_form) {}

  firstUpdated() {
    this.querySelector('dialog')?.showModal();
  }

  close() {
    this.querySelector('dialog')?.close();
  }

  /** @param {SubmitEvent} event */
  async #submitted(event) {
    event.preventDefault();
    if (this.isBusy || !this.isComplete) return;
    const form = /** @type {HTMLFormElement} */ (event.target);
    await this.attempt(() => this.submit(new FormData(form)));
    const { status, retryAfter } = this.failure ?? {};
    if (status === TOO_OFTEN && retryAfter) await this.#submitLater(form, retryAfter);
  }

  /** Does something whose failure stays in the dialog. @param {() => Promise<unknown>} act */
  async attempt(act) {
    this.isBusy = true;
    this.failure = null;
    try {
      await act();
    } catch (error) {
      this.#failed(/** @type {any} */ (error));
    }
    this.isBusy = false;
  }

  /**
   * Sends what the form has then, unless the dialog is closed before.
   *
   * @param {HTMLFormElement} form @param {number} seconds
   */
  async #submitLater(form, seconds) {
    this.failure = null;
    for (this.waiting = seconds; this.waiting > 0; this.waiting -= 1) {
      await new Promise(resolve => setTimeout(resolve, SECOND));
      if (!this.isConnected) return;
    }
    form.requestSubmit();
  }

  /** In the dialog, or where the eye is if it was closed meanwhile. @param {any} error */
  #failed(error) {
    if (error.status === 404 && this.gone) {
      this.close();
      this.gone();
    } else if (this.isConnected) this.failure = error;
    else if (!(error instanceof EndedError)) notices.add({ kind: 'bad', title: this.undone, failure: error });
  }

  render() {
    return html`<dialog
      aria-labelledby="dialog-heading"
      closedby=${this.isBusy ? 'none' : 'closerequest'}
      @close=${() => (this.#closed.abort(), this.remove())}
    >
      <form @submit=${this.#submitted} @input=${() => this.requestUpdate()}>
        <h2 id="dialog-heading">${this.heading}</h2>
        ${this.lead ? html`<p>${this.lead}</p>` : nothing} ${this.fields()}
        ${this.failure ? failed(this.undone, this.failure) : nothing} ${this.waiting ? this.#later() : nothing}
        <footer>
          <small role="status">${this.isBusy ? text.tooLate : nothing}</small>
          <button type="button" ?disabled=${this.isBusy} @click=${() => this.close()}>${text.cancel}</button>
          ${this.alternative()}
          <button
            class=${this.danger ? 'danger' : 'primary'}
            ?disabled=${this.isBusy || this.waiting > 0 || !this.isComplete}
          >
            ${this.doing}
          </button>
        </footer>
      </form>
    </dialog>`;
  }

  #later() {
    return html`<div class="notice warn">
      <div>
        <strong role="alert">${this.tooOften}.</strong>
        <span role="timer">${text.dialogs.tryingAgain(this.waiting)}</span>
      </div>
    </div>`;
  }

  /** The value of a field as it is now. @param {string} name */
  value(name) {
    const control = /** @type {HTMLInputElement | null} */ (this.querySelector(`[name="${name}"]`));
    return control?.value ?? '';
  }
}

/** Shows a dialog. @template {PageElement} T @param {T} dialog @param {Partial<T>} properties @returns {T} */
export function open(dialog, properties = {}) {
  Object.assign(dialog, properties);
  document.querySelector('llm-console')?.append(dialog);
  return dialog;
}

/** Asks for the name of the thing before it is gone. */
export class ConfirmDialog extends FormDialog {
  danger = true;
  word = '';
  button = '';
  /** @type {() => unknown} what it asks besides */ more = () => nothing;
  /** @type {(api: Api, form: FormData) => Promise<void>} */ act = async () => {};
  /** Follows, once the dialog is closed. */
  done = () => {};

  get doing() {
    return this.button;
  }

  get isComplete() {
    return this.word === '' || this.value('confirmation') === this.word;
  }

  fields() {
    if (this.word === '') return this.more();
    return html`${this.more()}<label class="field"
        ><span>${text.dialogs.typeToConfirm(this.word)}</span>
        <input name="confirmation" autocomplete="off" spellcheck="false" autofocus
      /></label>`;
  }

  /** @param {FormData} form */
  async submit(form) {
    await this.act(this.api, form);
    this.close();
    this.done();
  }
}
customElements.define('confirm-dialog', ConfirmDialog);
