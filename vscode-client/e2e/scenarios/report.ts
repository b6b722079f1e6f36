/** The report view beside the editor. */

import assert from 'node:assert/strict';

import { ReportView } from '../harness/report-view.ts';
import { inWindow } from '../harness/stage.ts';
import { until } from '../harness/until.ts';
import type { Workbench } from '../harness/workbench.ts';
import { TINY_CNN } from './models.ts';

inWindow(
    'The report view',
    { files: { 'tiny_cnn.py': TINY_CNN }, open: ['tiny_cnn.py'], look: { width: 1600 } },
    (scenario) => {
        scenario('shows the output and every op of the network', async (workbench) => {
            await workbench.goTo(31);
            await workbench.untilSquiggles(
                { severity: 'error', text: 'F.relu(self.bn1(self.conv1(x)))' },
                { severity: 'error', text: 'self.conv2(x)' },
            );
            const report = new ReportView(workbench);
            await report.open();
            assert.equal(await report.rows.count(), 10);
            assert.match(await report.header.innerText(), /9\.\d\s*dB\s*output SQNR\s*handlens_tiny/);
            assert.equal(await report.plot.getAttribute('aria-valuemax'), '10');
        });

        scenario('leads from a point of the plot to its expression', async (workbench) => {
            const report = new ReportView(workbench);
            await report.clickPoint(/conv2dconv2/);
            await untilSelected(workbench, 'self.conv2(x)');
            assert.match((await report.selected.getAttribute('aria-label')) ?? '', /^conv2d in conv2,/);
        });

        scenario('leads from a row of the table to its expression', async (workbench) => {
            const report = new ReportView(workbench);
            await report.row(/^linear in classifier/).click();
            await untilSelected(workbench, 'self.classifier(x)');
        });

        scenario('selects the op that the caret of the editor is on', async (workbench) => {
            await workbench.putCaret('conv3(x)');
            const report = new ReportView(workbench);
            await report.selected.and(report.row(/^conv2d in conv3,/)).waitFor();
        });

        scenario('has other results when another recipe is picked, as the editor has', async (workbench) => {
            await workbench.command('Handlens: Compare with another recipe');
            await workbench.row('bf16').click();
            const report = new ReportView(workbench);
            await report.header.filter({ hasText: /48\.\d\s*dB/ }).waitFor();
            assert.match(await report.header.innerText(), /recipe\s*bf16/);
            await workbench.untilSquiggles();
            await workbench.goTo(48);
            await workbench.untilLens(/^Handlens: output 48\.\d dB/);
            assert.match(workbench.read('.vscode/settings.json'), /"handlens.recipe": "bf16"/);
        });
    },
);

/** Wait until a text of the editor is what is selected, whatever has the focus. */
async function untilSelected(workbench: Workbench, text: string): Promise<void> {
    const selected = async () => (await workbench.decorations(['selected-text'])).map((each) => each.text).join('');
    await until(
        async () => (await selected()) === text,
        async () => `not ${text} is selected, but: ${await selected()}`,
    );
}
