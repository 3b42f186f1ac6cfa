// A new key's secret, shown once, with code to use it.

import { html, nothing } from './lit.js';
import { PageElement } from './element.js';
import { owners } from './owners.js';
import { session } from './session.js';
import { snippets } from './snippets.js';
import { copyButton } from './ui.js';
import { text } from './text.js';

class SecretCard extends PageElement {
  /** @type {import('lit').PropertyDeclarations} */ static properties = { kept: {}, chosen: { state: true } };

  constructor() {
    super();
    this.chosen = 0;
    /** @type {import('./secrets.js').Secret} */ this.kept = {
      keyId: '',
      secret: '',
      alias: '',
      userId: '',
      model: '',
    };
  }

  firstUpdated() {
    this.querySelector('section')?.focus();
  }

  /** @param {KeyboardEvent} event @param {number} count */
  #move(event, count) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    this.chosen = (this.chosen + step + count) % count;
    this.updateComplete.then(() =>
      /** @type {HTMLElement | null} */ (this.querySelector('[aria-selected="true"]'))?.focus(),
    );
  }

  render() {
    const { keyId, secret, alias, userId, model } = this.kept;
    const address = session.settings.modelsUrl;
    const all = snippets(secret, address, model);
    const of = userId === session.person?.subject ? '' : owners.titleOf(userId);
    const code = all[this.chosen][1];
    return html`<section class="card secret" tabindex="-1" aria-labelledby="secret-${keyId}">
      <h2 id="secret-${keyId}">${text.secret.title(alias, of)}</h2>
      <p>${text.secret.lead}</p>
      <div class="row"><code data-secret>${secret}</code>${copyButton(secret, text.secret.copyKey, true)}</div>
      <div
        class="tabs"
        role="tablist"
        aria-label=${text.secret.snippets}
        @keydown=${(/** @type {KeyboardEvent} */ event) => this.#move(event, all.length)}
      >
        ${all.map(
          ([name], index) =>
            html`<button
              type="button"
              role="tab"
              id="tab-${keyId}-${index}"
              aria-controls="snippet-${keyId}"
              aria-selected=${index === this.chosen}
              tabindex=${index === this.chosen ? 0 : -1}
              @click=${() => (this.chosen = index)}
            >
              ${name}
            </button>`,
        )}
      </div>
      <div role="tabpanel" id="snippet-${keyId}" aria-labelledby="tab-${keyId}-${this.chosen}">
        <pre tabindex="0">${code}</pre>
      </div>
      ${address ? nothing : html`<p>${text.secret.where}</p>`}
      <div class="row end">
        ${copyButton(code, text.secret.copyCode)}<button
          type="button"
          @click=${() => this.dispatchEvent(new Event('done'))}
        >
          ${text.secret.done}
        </button>
      </div>
    </section>`;
  }
}
customElements.define('secret-card', SecretCard);
