// A Backstage backend plugin's way to this service: asks Backstage's own discovery for its address, and calls it there.
// Runs in the folder of the Backstage, with its packages: node discovery.mjs APP_CONFIG TOKEN PATH
import { createRequire } from 'node:module';

const [config, token, path] = process.argv.slice(2);
const require = createRequire(`${process.cwd()}/`);
const { ConfigSources } = require('@backstage/config-loader');
const { HostDiscovery } = require('@backstage/backend-defaults/discovery');

const source = ConfigSources.default({ watch: false, argv: ['--config', config] });
const loaded = await ConfigSources.toConfig(source);
const address = await HostDiscovery.fromConfig(loaded).getBaseUrl('litellm-orchestrator');
const response = await fetch(`${address}/${path}`, { headers: { Authorization: `Bearer ${token}` } });
console.log(JSON.stringify({ address, status: response.status, body: await response.json() }));
process.exit();
