/** What the extension costs, and what it leaves alone. */

import assert from 'node:assert/strict';

import * as processes from '../harness/processes.ts';
import { inWindow } from '../harness/stage.ts';
import { until } from '../harness/until.ts';
import { NO_TARGET, NO_TORCH } from './models.ts';

const ACTIVATION_MS = 100;

inWindow('A window', { files: { 'greet.py': NO_TORCH, 'net.py': NO_TARGET }, open: ['greet.py'] }, (scenario) => {
    scenario('with a file without torch takes under 100 ms for the extension, and has no process of it', async (workbench) => {
        await workbench.command('Developer: Show Running Extensions');
        const row = workbench.page.locator('.runtime-extensions-editor .monaco-list-row').filter({ hasText: 'Handlens' });
        const said = await row.getByText(/Activation/).first().innerText();
        const took = Number(/(\d+)ms/.exec(said)?.[1]);
        console.log(`activation of the extension: ${took} ms`);
        assert.ok(took < ACTIVATION_MS, said);
        assert.deepEqual(servers(), []);
        // The list is a dialog, over everything else.
        await workbench.page.keyboard.press('Escape');
        await row.waitFor({ state: 'detached' });
    });

    scenario('with a file that has torch in it starts the server, once', async (workbench) => {
        await workbench.open('net.py');
        await until(() => servers().length > 0, () => 'no server was started');
    });

    scenario('offers to declare a target for a model class that has none, and runs it', async (workbench) => {
        await workbench.command('Handlens: Declare a target');
        await workbench.untilText('def handlens_net():');
        assert.equal(servers().length, 1);
        await workbench.save();
        assert.match(workbench.read('net.py'), /def handlens_net\(\):\n.*\n    return Net\(\), \(torch\.randn\(1, 8\),\)\n$/);
        await workbench.untilLens(/^Handlens: output \d+\.\d dB/);
    });
});

function servers(): string[] {
    return processes.running().filter((command) => / -I .*bundled --stdio/.test(command));
}
