/** `node main.ts [NAME…]`: all scenarios or those of some files, one after the other, on one code-server. */

import { after } from 'node:test';

import { closeAll } from './harness/stage.ts';

const NAMES = ['starting', 'reading', 'changing', 'report', 'failing', 'interpreters', 'trust'];

const asked = process.argv.slice(2);
const started = performance.now();

after(async () => {
    // Fails if a process is left over.
    await closeAll();
    console.log(`end-to-end tests: ${Math.round((performance.now() - started) / 1000)} s`);
});

for (const name of asked.length > 0 ? asked : NAMES) await import(`./scenarios/${name}.ts`);
