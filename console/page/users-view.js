// All users, for admins: search, status, kind, tier and spend, page by page.

import { html, repeat } from './lit.js';
import { budgetBar } from './budget.js';
import { exact, money, when } from './format.js';
import { hrefOf } from './route.js';
import { choice, empty, heads, rowFilters, table } from './ui.js';
import { userPill } from './user-facts.js';
import { PAGE, PagedView } from './paged-view.js';
import { text } from './text.js';
import './owner-sums.js';

const { users: words } = text;
const { kinds } = text.owners;
const DEFAULT_TIER = 'userDefaults';

class UsersView extends PagedView {
  heading = words.title;
  lead = words.lead;
  query = '';
  status = '';
  kind = '';

  /** @param {string | null} cursor */
  async page(cursor) {
    const { users, nextCursor, sweptAt } = await this.api.read(['users'], {
      limit: PAGE,
      query: this.query.trim(),
      status: this.status,
      kind: this.kind,
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
          choice(words.columns.kind, words.anyKind, Object.entries(kinds), kind => ((this.kind = kind), this.reload())),
        )}
        ${this.rows.length ? this.#table() : empty(words.empty)} ${this.moreButton()}
      </section>
      <div class="nested"><owner-sums></owner-sums></div>`;
  }

  #table() {
    const { columns } = words;
    const head = heads([
      [columns.user],
      [columns.status],
      [columns.kind, 'if-3'],
      [columns.tier, 'if-4'],
      [columns.spend, 'num'],
      [columns.budget],
      [columns.since, 'if-2'],
    ]);
    return table(
      words.title,
      head,
      repeat(this.rows, user => user.userId, row),
    );
  }
}
customElements.define('users-view', UsersView);

/** @param {any} user */
const row = user =>
  html`<tr>
    <td class="first">
      <a class="name" dir="auto" href=${hrefOf(user.userId)}>${user.displayName ?? user.userId}</a>
      <div class="sub">${user.userId}</div>
    </td>
    <td class="state">${userPill(user)}</td>
    <td class="if-3">${kinds[user.kind] ?? '–'}</td>
    <td class="if-4 part">${user.tier === DEFAULT_TIER ? words.defaultTier : (user.tier ?? '–')}</td>
    <td class="num">${money(user.spend)}</td>
    <td class="mini">
      ${user.maxBudget === null ? text.keys.tiles.unlimited : budgetBar(user.spend, user.maxBudget, user.userId)}
    </td>
    <td class="if-2" data-label=${words.created} title=${exact(user.createdAt)}>${when(user.createdAt)}</td>
  </tr>`;
