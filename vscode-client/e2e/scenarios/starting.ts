/** What the extension costs, what it leaves alone, and what it starts for. */

import assert from 'node:assert/strict';

import * as processes from '../harness/processes.ts';
import { inWindow } from '../harness/stage.ts';
import { until } from '../harness/until.ts';
import type { Workbench } from '../harness/workbench.ts';
import { NO_TARGET, NO_TORCH } from './models.ts';
import { notebook, notebooks } from './notebooks.ts';

const FILES = { 'greet.py': NO_TORCH, 'net.py': NO_TARGET, 'tiny.ipynb': notebook() };

// High enough for both cells of the notebook.
inWindow('A window', { files: FILES, open: ['greet.py'], look: { height: 1400 } }, (scenario) => {
    scenario('with a file without torch has no process of the extension', async (workbench) => {
        // Measured, not asserted: whatever else the machine does adds to it.
        console.log(`activation of the extension: ${await activation(workbench)} ms`);
        assert.deepEqual(servers(), []);
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

    notebooks(scenario);
});

/** What VS Code says of how long the extension took to be activated, in milliseconds. */
async function activation(workbench: Workbench): Promise<number> {
    await workbench.command('Developer: Show Running Extensions');
    const row = workbench.page.locator('.runtime-extensions-editor .monaco-list-row').filter({ hasText: 'Handlens' });
    const said = await row.getByText(/Activation: \d+ms/).first().innerText();
    // The list is a dialog, over everything else.
    await workbench.page.keyboard.press('Escape');
    await row.waitFor({ state: 'detached' });
    return Number(/\d+/.exec(said)![0]);
}

function servers(): string[] {
    return processes.running().filter((command) => / -I .*bundled --stdio/.test(command));
}
