/** Runs that do not end, or end badly. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';

import { inWindow } from '../harness/stage.ts';
import { until } from '../harness/until.ts';
import { held, TINY_CNN } from './models.ts';

inWindow('A run that goes wrong', { files: { 'tiny_cnn.py': held(TINY_CNN), 'crash.py': crashing(TINY_CNN) }, open: ['tiny_cnn.py'] }, (scenario) => {
    scenario('can be cancelled while it runs', async (workbench) => {
        const pid = await until(() => workbench.readIfThere('tiny_cnn.py.pid')?.trim(), () => 'the model is not executed', 60_000);
        await workbench.status(/Handlens: handlens_tiny/).waitFor();
        await workbench.command('Handlens: Cancel');
        await until(() => !existsSync(`/proc/${pid}`), () => `the run's process ${pid} is still there`);
        await workbench.status(/Handlens: handlens_tiny/).waitFor({ state: 'detached' });
    });

    scenario('can be cancelled from its status', async (workbench) => {
        const before = workbench.read('tiny_cnn.py.pid');
        await workbench.command('Handlens: Rerun comparison');
        const pid = await until(
            () => workbench.read('tiny_cnn.py.pid') !== before && workbench.read('tiny_cnn.py.pid').trim(),
            () => 'the model is not executed',
        );
        const item = await workbench.languageStatus();
        await item.getByText('Actions …').click();
        await workbench.row('Cancel').click();
        await until(() => !existsSync(`/proc/${pid}`), () => `the run's process ${pid} is still there`);
    });

    scenario('of a model that crashes its process is shown on the line that did it, and gone when the text is right', async (workbench) => {
        await workbench.open('crash.py');
        await workbench.goTo(2);
        await workbench.untilSquiggles({ severity: 'error', text: 'ctypes.string_at(0)' });
        const hover = await workbench.hover('string_at');
        assert.match(await hover.innerText(), /SIGSEGV|signal 11|segmentation fault/i);

        await workbench.goTo(2);
        await workbench.page.keyboard.press('Control+Shift+K');
        await workbench.save();
        await workbench.goTo(32);
        await workbench.untilSquiggles(
            { severity: 'error', text: 'F.relu(self.bn1(self.conv1(x)))' },
            { severity: 'error', text: 'self.conv2(x)' },
        );
    });
});

function crashing(model: string): string {
    return `import ctypes\nctypes.string_at(0)\n${model}`;
}
