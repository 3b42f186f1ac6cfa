// make console-vendor: bundles Lit, as npm has it, into one module of the page, and records where it is from.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

const here = new URL('.', import.meta.url);
const read = path => readFileSync(new URL(path, here), 'utf8');
const { version, license } = JSON.parse(read('node_modules/lit/package.json'));
const { integrity } = JSON.parse(read('package-lock.json')).packages['node_modules/lit'];

const { outputFiles } = await build({
  stdin: {
    contents: `export { LitElement, html, svg, nothing, render } from 'lit';
      export { repeat } from 'lit/directives/repeat.js';
      export { keyed } from 'lit/directives/keyed.js';`,
    resolveDir: here.pathname,
  },
  banner: { js: `// Lit ${version}, ${license}, https://lit.dev. Bundled by make console-vendor; see vendor.json.` },
  bundle: true,
  format: 'esm',
  minify: true,
  legalComments: 'inline',
  write: false,
});
const [bundle] = outputFiles;
writeFileSync(new URL('page/lit.js', here), bundle.contents);
const sha256 = createHash('sha256').update(bundle.contents).digest('hex');
const record = { 'lit.js': { package: 'lit', version, license, integrity, sha256 } };
writeFileSync(new URL('vendor.json', here), `${JSON.stringify(record, null, 2)}\n`);
