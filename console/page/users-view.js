// All users, for admins: search, status, tier and spend, page by page.

import { html, repeat } from './lit.js';
import { exact, money, when } from './format.js';
import { bar, empty, rowFilters } from './ui.js';
import { userPill } from './user-facts.js';
import { PAGE, PagedView } from './paged-view.js';
import { text } from './text.js';

const { users: words } = text;
const DEFAULT_TIER = 'userDefaults';
class UsersView extends PagedView {
  heading = words.title;
  lead = words.lead;
  query = '';
  status = '';

  /** @param {string | null} cursor */
  async page(cursor) {
    const { users, nextCursor, sweptAt } = await this.api.read(['users'], {
      limit: PAGE,
      query: this.query.trim(),
      status: this.status,
      cursor,
    });
    return {
      rows: users,
      next: nextCursor,
      lead: sweptAt ? `${words.lead} ${words.swept(when(sweptAt))}` : words.lead,
    };
  }

  content() {
    return html`<section class="card">
      ${rowFilters(
        words.search,
        this.query,
        query => ((this.query = query), this.reloadSoon()),
        Object.entries(words.status),
        status => ((this.status = status), this.reload()),
      )}
      ${this.rows.length ? this.#table() : empty(words.empty)} ${this.moreButton()}
    </section>`;
  }

  #table() {
    const { columns } = words;
    return html`<div class="scroll" tabindex="0" role="region" aria-label=${words.title}>
      <table>
        <thead>
          <tr>
            <th scope="col">${columns.user}</th>
            <th scope="col">${columns.status}</th>
            <th scope="col" class="if-4">${columns.tier}</th>
            <th scope="col" class="num">${columns.spend}</th>
            <th scope="col" class="if-1">${columns.budget}</th>
            <th scope="col" class="if-2">${columns.since}</th>
          </tr>
        </thead>
        <tbody>
          ${repeat(
            this.rows,
            row => row.userId,
            row =>
              html`<tr>
                <td class="first">
                  <a class="name" dir="auto" href="#/users/${encodeURI(row.userId)}"
                    >${row.displayName ?? row.userId}</a
                  >
                  <div class="sub">${row.userId}</div>
                </td>
                <td class="state">${userPill(row)}</td>
                <td class="if-4 part">${row.tier === DEFAULT_TIER ? words.defaultTier : (row.tier ?? '–')}</td>
                <td class="num">${money(row.spend)}</td>
                <td class="if-1 mini">
                  ${
                    row.maxBudget === null
                      ? text.keys.tiles.unlimited
                      : html`${bar(row.spend, row.maxBudget, `${columns.budget} ${row.userId}`)}
                          <small>${text.keys.tiles.of} ${money(row.maxBudget)}</small>`
                  }
                </td>
                <td class="if-2" data-label=${words.created} title=${exact(row.createdAt)}>${when(row.createdAt)}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
  }
}
customElements.define('users-view', UsersView);
