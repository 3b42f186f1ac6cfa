// What make lint asks of the page beyond its form (Prettier) and its types (tsc).
import css from '@eslint/css';
import js from '@eslint/js';
import { configs as lit } from 'eslint-plugin-lit';
import globals from 'globals';

const scripts = ['**/*.{js,mjs}'];

export default [
  { ignores: ['page/lit.js'] },
  { files: scripts, ...js.configs.recommended },
  { files: scripts, ...lit['flat/recommended'] },
  {
    files: scripts,
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'max-len': ['error', { code: 120 }],
      'no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'no-var': 'error',
      'prefer-const': 'error',
      'lit/no-invalid-escape-sequences': 'error',
      'lit/no-legacy-imports': 'error',
      'lit/no-useless-template-literals': 'error',
      'lit/quoted-expressions': ['error', 'never'],
    },
  },
  { files: ['page/*.js'], languageOptions: { globals: globals.browser } },
  { files: ['*.{js,mjs}'], languageOptions: { globals: globals.node } },
  { files: ['tests/*.js'], languageOptions: { globals: { ...globals.browser, ...globals.node } } },
  { files: ['page/*.css'], plugins: { css }, language: 'css/css', ...css.configs.recommended },
  {
    files: ['page/*.css'],
    rules: {
      'css/no-invalid-properties': ['error', { allowUnknownVariables: true }], // those of tokens.css
      'css/use-baseline': ['error', { allowProperties: ['accent-color', 'forced-color-adjust'] }],
    },
  },
];
