// What the service needs, and what does not work without it.

import { html, nothing } from './lit.js';
import { pill, tile } from './ui.js';
import { text } from './text.js';
import { View } from './view.js';

const { health: words } = text;
// The probes are at the root of the service, which is not routed to the outside everywhere: a gateway, a page or
// Backstage's own probe answers there.
const ELSEWHERE = [200, 401, 403, 404];
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
    const response = await fetch(probe).catch(() => {
      throw new Error(text.errors.unreachable);
    });
    const isJson = response.headers.get('Content-Type')?.startsWith('application/json');
    const body = isJson ? await response.json() : null;
    if (!body?.dependencies) {
      throw new Error(ELSEWHERE.includes(response.status) ? words.elsewhere : text.errors.status(response.status));
    }
    return { readiness: body };
  }

  content() {
    const { dependencies, circuits = {} } = this.readiness;
    const parts = /** @type {('litellm' | 'backstage' | 'database')[]} */ (Object.keys(words.parts));
    const isFine = parts.every(part => dependencies[part] === 'up');
    return html`<p class="summary" role="status">${isFine ? pill('good', words.all) : pill('bad', words.some)}</p>
      <section class="tiles">
        ${parts.map(part => {
          const isUp = dependencies[part] === 'up';
          const isPaused = circuits[part] && circuits[part] !== 'closed';
          return tile(
            words.parts[part],
            isUp ? pill('good', words.up) : pill('bad', words.down),
            html`<small>${isUp ? nothing : words.consequences[part]} ${isPaused ? words.paused : nothing}</small>`,
          );
        })}
      </section>`;
  }
}
customElements.define('health-view', HealthView);
