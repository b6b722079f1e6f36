/** `node main.ts [NAME…]`: all scenarios or those of some files, one after the other, on one code-server. */

import { rmSync } from 'node:fs';
import { after } from 'node:test';

import { results } from './harness/paths.ts';
import { closeAll } from './harness/stage.ts';

const NAMES = ['starting', 'model', 'package', 'report', 'advice', 'failing', 'interpreters', 'trust'];

const asked = process.argv.slice(2);
// What an earlier run left would look like this one's.
rmSync(results, { recursive: true, force: true });
const started = performance.now();

after(async () => {
    // Fails if a process is left over.
    await closeAll();
    console.log(`end-to-end tests: ${Math.round((performance.now() - started) / 1000)} s`);
});

for (const name of asked.length > 0 ? asked : NAMES) await import(`./scenarios/${name}.ts`);
