/** A model whose layers are in another file than the target that measures them. */

import assert from 'node:assert/strict';

import { ReportView } from '../harness/report-view.ts';
import { inWindow } from '../harness/stage.ts';
import { LAYERS, TRAIN } from './models.ts';

inWindow(
    'A package',
    { files: { 'layers.py': LAYERS, 'train.py': TRAIN }, open: ['train.py'] },
    (scenario) => {
        scenario('shows in a file of layers what the target of another one measures', async (workbench) => {
            await workbench.goTo(6);
            await workbench.untilLens(/^Handlens: output 9\.\d dB/);
            // The tab of the target's file was only looked at: the next one takes its place.
            await workbench.open('layers.py');
            await workbench.goTo(31);
            await workbench.untilSquiggles(
                { severity: 'error', text: 'F.relu(self.bn1(self.conv1(x)))' },
                { severity: 'error', text: 'self.conv2(x)' },
            );
            const item = await workbench.languageStatus();
            assert.match(await item.innerText(), /^train\.py › handlens_tiny 9\.\d dB/);
        });

        scenario('measures again on a save, though the file of the target is closed', async (workbench) => {
            await workbench.replace('LOUDNESS = 200.0', 'LOUDNESS = 1.0');
            await workbench.save();
            await workbench.untilSquiggles();
            await workbench.goTo(15);
            await workbench.untilLens(/^Handlens: 10 ops · worst \w+ [34]\d\.\d dB$/);
        });

        scenario('has the report of that target', async (workbench) => {
            const report = new ReportView(workbench);
            await report.open();
            assert.match(await report.header.innerText(), /handlens_tiny/);
            assert.equal(await report.rows.count(), 10);
        });
    },
);
