/** A workspace that is not trusted. */

import assert from 'node:assert/strict';

import { inWindow } from '../harness/stage.ts';
import { counted, TINY_CNN } from './models.ts';

inWindow(
    'A workspace that is not trusted',
    { files: { 'tiny_cnn.py': counted(TINY_CNN) }, open: ['tiny_cnn.py'], server: { asksForTrust: true } },
    (scenario) => {
        scenario('has none of its code executed, and is told so', async (workbench) => {
            await workbench.page.getByRole('button', { name: "No, I don't trust the authors" }).click();
            await workbench.command('Handlens: Rerun comparison');
            await workbench.notification(/not trusted/).waitFor();
            const item = await workbench.languageStatus();
            assert.match(await item.innerText(), /Handlens is restricted/);
            assert.equal(workbench.readIfThere('tiny_cnn.py.runs'), undefined);
        });

        scenario('is run when trust is granted', async (workbench) => {
            await workbench.command('Workspaces: Manage Workspace Trust');
            await workbench.page.locator('.workspace-trust-editor').getByText('Trust', { exact: true }).first().click();
            await workbench.open('tiny_cnn.py');
            await workbench.goTo(31);
            await workbench.untilSquiggles(
                { severity: 'error', text: 'F.relu(self.bn1(self.conv1(x)))' },
                { severity: 'error', text: 'self.conv2(x)' },
            );
            assert.notEqual(workbench.readIfThere('tiny_cnn.py.runs'), undefined);
        });
    },
);
