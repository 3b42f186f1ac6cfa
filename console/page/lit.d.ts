// What lit.js exports, for the type check. Not served.
export { LitElement, html, svg, nothing, render } from 'lit';
export { repeat } from 'lit/directives/repeat.js';
export { keyed } from 'lit/directives/keyed.js';
