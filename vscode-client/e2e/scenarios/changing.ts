/** What happens when a model is changed. */

import assert from 'node:assert/strict';

import type { Scenario } from '../harness/stage.ts';
import { retrying, until } from '../harness/until.ts';

const RELU = { severity: 'error', text: 'F.relu(self.bn1(self.conv1(x)))' };
const CONV = { severity: 'error', text: 'self.conv2(x)' };

export function changing(scenario: Scenario): void {
    scenario('keeps its squiggles under their text while lines are typed above', async (workbench) => {
        await workbench.goTo(31);
        await workbench.untilSquiggles(RELU, CONV);
        await workbench.goTo(14);
        await workbench.type('# Two more lines\n# above the model\n');
        await workbench.untilSquiggles(RELU, CONV);
        const [, conv2] = await workbench.problems(3);
        assert.match(conv2!, /Ln 33, Col 29/);
        await workbench.save();
    });

    scenario('is run again by a click on the lens of its target', async (workbench) => {
        await workbench.goTo(50);
        const before = runs(workbench.read);
        // The editor draws its lenses anew after the save, and a click on one that goes is lost.
        await retrying(
            async (patience) => {
                await (await workbench.untilLens(/· rerun$/)).click();
                await until(() => runs(workbench.read) > before, () => 'the model was not executed again', patience);
            },
            async () => undefined,
        );
        await workbench.untilLens(/· rerun$/);
    });

    scenario('is run again by a source action', async (workbench) => {
        const before = runs(workbench.read);
        await workbench.putCaret('torch.manual_seed(0)');
        await workbench.takeAction('Rerun the quantization comparison', () => workbench.command('Source Action...'));
        await until(() => runs(workbench.read) > before, () => 'the model was not executed again');
        await workbench.untilLens(/· rerun$/);
    });

    scenario('loses the squiggle that a quick fix suppresses, and gets a comment on that line', async (workbench) => {
        await workbench.goTo(33);
        await workbench.quickFix('self.conv2(x)', 'Suppress HL101 on this line');
        await workbench.untilSquiggles(RELU);
        await workbench.save();
        const line = workbench.read('tiny_cnn.py').split('\n')[32];
        assert.equal(line, '        x = F.relu(self.bn2(self.conv2(x)))  # handlens: ignore[HL101]');
    });

    scenario('has fresh results when it is saved', async (workbench) => {
        await workbench.goTo(12);
        await workbench.replace('200.0', '1.0');
        await workbench.save();
        await workbench.goTo(33);
        // What was suppressed is no loss any more.
        await workbench.untilSquiggles({ severity: 'info', text: '# handlens: ignore[HL101]' });
        await workbench.goTo(50);
        await workbench.untilLens(/^Handlens: output 9\.\d → 3\d\.\d dB/);
    });
}

/** How many times the model has been executed. */
function runs(read: (file: string) => string): number {
    return read('tiny_cnn.py.runs').split('\n').length - 1;
}
