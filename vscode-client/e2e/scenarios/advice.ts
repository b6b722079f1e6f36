/** What helps a model: offered with the numbers that were measured, drawn, and applied. */

import assert from 'node:assert/strict';

import { ReportView } from '../harness/report-view.ts';
import { inWindow } from '../harness/stage.ts';
import { TINY_CNN } from './models.ts';

inWindow(
    'What helps',
    { files: { 'tiny_cnn.py': TINY_CNN }, open: ['tiny_cnn.py'], look: { width: 1600 } },
    (scenario) => {
        scenario('is searched for behind the findings, and told by a lens', async (workbench) => {
            await workbench.goTo(48);
            await workbench.untilLens(/^Handlens: output 9\.\d dB/);
            await workbench.untilLens(/ in float: .+ · apply$/);
        });

        scenario('is drawn as a curve in the report', async (workbench) => {
            const report = new ReportView(workbench);
            await report.open();
            await report.showAdvice();
            const steps = await report.steps.count();
            assert.ok(steps > 0);
            assert.equal(await report.points.count(), steps + 1);
            assert.match((await report.points.first().getAttribute('aria-label')) ?? '', /^Without any change: 9\.\d dB$/);
        });

        scenario('is applied from a point of the curve', async (workbench) => {
            const report = new ReportView(workbench);
            await report.points.nth(1).click();
            await report.offer.filter({ hasText: /^Keep conv2 and relu in float\s*output 9\.\d → 42\.\d dB/ }).waitFor();
            await report.offer.getByRole('button', { name: 'Apply' }).click();
            await workbench.putCaret('torch.manual_seed(0)');
            await workbench.untilText('"keep_float": [');
            await workbench.page.keyboard.press('Control+Z');
            await workbench.page.locator('.part.editor .tab.dirty').waitFor({ state: 'detached' });
        });

        scenario('is a quick fix with its number, and the run after it tells that it has helped', async (workbench) => {
            await workbench.goTo(31);
            const title = /Keep conv2 and relu in float: output 9\.\d → 42\.\d dB/;
            await workbench.quickFix('self.conv2(x)', title);
            await workbench.save();
            assert.match(workbench.read('tiny_cnn.py'), /^ {8}"keep_float": \[.+\],$/m);
            await workbench.goTo(48);
            await workbench.untilLens(/^Handlens: output 9\.\d → 42\.\d dB/);
            await workbench.untilSquiggles();
        });
    },
);
