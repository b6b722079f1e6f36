/** Where things are; all of it follows from where this file is. */

import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const e2e = resolve(import.meta.dirname, '..');
export const client = resolve(e2e, '..');
export const repository = resolve(client, '..');

/** What a failed scenario leaves behind to be looked at. */
export const results = join(client, 'test-results');

/** The extension as its users install it; another one can be tried through the environment. */
export const vsix = resolve(process.env['HANDLENS_VSIX'] ?? join(client, `handlens-${manifest().version}.vsix`));

function manifest(): { version: string } {
    return JSON.parse(readFileSync(join(client, 'package.json'), 'utf8')) as { version: string };
}

/** The interpreter that runs the models. */
export const interpreter = join(repository, '.venv', 'bin', 'python');

export const codeServer = join(e2e, 'node_modules', 'code-server', 'out', 'node', 'entry.js');
export const chromium = '/usr/bin/chromium';
