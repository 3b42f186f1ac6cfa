// A menu of actions beside a button. The browser closes it on Escape and on a click elsewhere.

import { html, render } from './lit.js';

/** @typedef {{label: string, act: () => void, danger?: boolean}} Action */

/** @param {MouseEvent} event of the button @param {string} name of what it acts on @param {Action[]} actions */
export function showMenu(event, name, actions) {
  const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
  const menu = document.createElement('div');
  menu.className = 'menu';
  menu.popover = 'auto';
  menu.setAttribute('role', 'menu');
  menu.setAttribute('aria-label', name);
  const choose = (/** @type {Action} */ action) => {
    menu.hidePopover();
    button.focus();
    action.act();
  };
  render(
    actions.map(
      action =>
        html`<button
          type="button"
          role="menuitem"
          class=${action.danger ? 'dangerous' : ''}
          @click=${() => choose(action)}
        >
          ${action.label}
        </button>`,
    ),
    menu,
  );
  menu.addEventListener('keydown', key => pressed(menu, button, key));
  const anchor = button.getBoundingClientRect();
  const scrolled = () => {
    // It would stand beside another row.
    if (Math.abs(button.getBoundingClientRect().top - anchor.top) > 1) menu.hidePopover();
  };
  addEventListener('scroll', scrolled, { capture: true });
  menu.addEventListener('toggle', toggled => {
    if (/** @type {ToggleEvent} */ (toggled).newState !== 'closed') return;
    removeEventListener('scroll', scrolled, { capture: true });
    button.setAttribute('aria-expanded', 'false');
    menu.remove();
  });
  document.querySelector('llm-console')?.append(menu);
  menu.showPopover();
  button.setAttribute('aria-expanded', 'true');
  place(menu, anchor);
  menu.querySelector('button')?.focus({ preventScroll: true });
}

/** Below the button, or above it where there is no room. @param {HTMLElement} menu @param {DOMRect} anchor */
function place(menu, anchor) {
  const { width, height } = menu.getBoundingClientRect();
  const below = anchor.bottom + 4 + height < innerHeight;
  menu.style.left = `${Math.max(8, anchor.right - width)}px`;
  menu.style.top = `${below ? anchor.bottom + 4 : Math.max(8, anchor.top - 4 - height)}px`;
}

/**
 * As menus are used by keyboard.
 *
 * @param {HTMLElement} menu @param {HTMLElement} button @param {KeyboardEvent} event
 */
function pressed(menu, button, event) {
  if (event.key === 'Tab') {
    // Focus goes on from the button.
    menu.hidePopover();
    button.focus();
    return;
  }
  const items = [...menu.querySelectorAll('button')];
  const at = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
  const next = nextItem(
    items.map(item => item.textContent.trim().toLowerCase()),
    at,
    event.key,
  );
  if (next === null) return;
  event.preventDefault();
  items[next].focus();
}

/** @param {string[]} labels @param {number} at the item with the focus @param {string} key */
function nextItem(labels, at, key) {
  const count = labels.length;
  if (key === 'ArrowDown') return (at + 1) % count;
  if (key === 'ArrowUp') return (at - 1 + count) % count;
  if (key === 'Home') return 0;
  if (key === 'End') return count - 1;
  if (key.length !== 1) return null;
  const after = [...labels.keys()].map(step => (at + 1 + step) % count);
  return after.find(index => labels[index].startsWith(key.toLowerCase())) ?? null;
}
