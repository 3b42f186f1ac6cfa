// What the service needs, and what does not work without it.

import { html, nothing } from './lit.js';
import { pill } from './ui.js';
import { text } from './text.js';
import { View } from './view.js';

const { health: words } = text;
// The probes are at the root of the service, and not routed to the outside everywhere.
const probe = new URL('../../../../.backstage/health/v1/readiness', import.meta.url);

class HealthView extends View {
  heading = words.title;
  lead = words.lead;
  /** @type {any} */ readiness = null;
  period = 10_000;

  tick() {
    this.reload();
  }

  async load() {
    const response = await fetch(probe);
    if (response.status !== 200 && response.status !== 503) throw new Error(words.elsewhere);
    this.readiness = await response.json();
  }

  content() {
    const { dependencies, circuits = {} } = this.readiness;
    const parts = /** @type {('litellm' | 'backstage' | 'database')[]} */ (Object.keys(words.parts));
    const isFine = parts.every(part => dependencies[part] === 'up');
    return html`<p class="summary" role="status">${isFine ? pill('good', words.all) : pill('bad', words.some)}</p>
      <section class="tiles">${parts.map(part => html`<div class="tile"><span>${words.parts[part]}</span>
        <strong>${dependencies[part] === 'up' ? pill('good', words.up) : pill('bad', words.down)}</strong>
        <small>${dependencies[part] === 'up' ? nothing : words.consequences[part]} ${circuits[part] && circuits[part] !== 'closed' ? words.paused : nothing}</small></div>`)}</section>`;
  }
}
customElements.define('health-view', HealthView);
