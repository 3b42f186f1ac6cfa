// A menu of actions beside a button. The browser closes it on Escape and on a click elsewhere.

import { html, render } from './lit.js';

/** @typedef {{label: string, act: () => void, danger?: boolean}} Action */

/** @param {MouseEvent} event of the button @param {Action[]} actions */
export function showMenu(event, actions) {
  const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
  const menu = document.createElement('div');
  menu.className = 'menu';
  menu.popover = 'auto';
  menu.setAttribute('role', 'menu');
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
  menu.addEventListener('keydown', key => moveFocus(menu, key));
  menu.addEventListener('toggle', toggled => {
    if (/** @type {ToggleEvent} */ (toggled).newState === 'closed') menu.remove();
  });
  document.querySelector('llm-console')?.append(menu);
  menu.showPopover();
  place(menu, button.getBoundingClientRect());
  menu.querySelector('button')?.focus();
}

/** Below the button, or above it where there is no room. @param {HTMLElement} menu @param {DOMRect} anchor */
function place(menu, anchor) {
  const { width, height } = menu.getBoundingClientRect();
  const below = anchor.bottom + 4 + height < innerHeight;
  menu.style.left = `${Math.max(8, anchor.right - width)}px`;
  menu.style.top = `${below ? anchor.bottom + 4 : Math.max(8, anchor.top - 4 - height)}px`;
}

/** @param {HTMLElement} menu @param {KeyboardEvent} event */
function moveFocus(menu, event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const items = [...menu.querySelectorAll('button')];
  const at = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
  items[(at + step + items.length) % items.length].focus();
}
