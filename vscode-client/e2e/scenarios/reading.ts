/** What the editor shows of a model's accuracy. */

import assert from 'node:assert/strict';

import type { Scenario } from '../harness/stage.ts';

export function reading(scenario: Scenario): void {
    scenario('has squiggles under the expressions that answer for a loss, and under nothing else', async (workbench) => {
        await workbench.goTo(31);
        await workbench.untilSquiggles(
            // The editor draws one squiggle where one error lies within another.
            { severity: 'error', text: 'F.relu(self.bn1(self.conv1(x)))' },
            { severity: 'error', text: 'self.conv2(x)' },
        );
    });

    scenario('has its findings in the Problems panel', async (workbench) => {
        const [relu, conv2, output] = await workbench.problems(3);
        assert.match(relu!, /^relu \d+\.\d dB, down to \d+\.\d dB at conv2d.*HL101.*Ln 28, Col 13/);
        assert.match(conv2!, /^conv2d \d+\.\d dB, introduces \d+\.\d dB · conv2.*HL101.*Ln 31, Col 29/);
        assert.match(output!, /^output 9\.\d dB with recipe x86.*HL105.*Ln 48, Col 5/);
        await workbench.command('View: Hide Panel');
    });

    scenario('tells the numbers of an op where one points, with a picture', async (workbench) => {
        const hover = await workbench.hover('self.conv2(x)');
        const ratio = hover.getByRole('row').filter({ hasText: 'SQNR' });
        assert.match((await ratio.innerText()).replaceAll(/\s+/g, ' '), /^SQNR \d+\.\d dB$/);
        const picture = hover.locator('img').first();
        await picture.waitFor();
        assert.ok(await picture.evaluate((image: HTMLImageElement) => image.naturalWidth > 0), 'it is not drawn');
    });

    scenario('explains the rule of a finding on a page that is installed', async (workbench) => {
        const hover = await workbench.hover('self.conv2(x)');
        await hover.getByRole('link', { name: 'HL101' }).first().click();
        await workbench.untilPage('HL101.md', 'HL101 low-sqnr');
        await workbench.command('View: Close Editor');
    });

    scenario('has the lowest ratio of a line at its end', async (workbench) => {
        assert.match(await workbench.lineWith('self.conv2(x)'), /self\.conv2\(x\)\)\)\s*min \d+\.\d dB of 2 ops$/);
        assert.match(await workbench.lineWith('self.classifier(x)'), /self\.classifier\(x\)\s*\d+\.\d dB$/);
    });

    scenario('has a lens above its class that leads to the worst op', async (workbench) => {
        await workbench.goTo(15);
        const lens = await workbench.untilLens(/^Handlens: 10 ops · worst conv2d \d+\.\d dB$/);
        await lens.click();
        await workbench.untilSelection('Ln 31, Col 42 (13 selected)');
    });

    scenario('has a lens above its target with the accuracy of the output', async (workbench) => {
        await workbench.goTo(48);
        await workbench.untilLens(/^Handlens: output 9\.\d dB, top-1 [\d.]+ % · worst conv2d \d+\.\d dB · rerun$/);
    });

    scenario('has its state among the language status items', async (workbench) => {
        const item = await workbench.languageStatus();
        assert.match(await item.innerText(), /^handlens_tiny 9\.\d dB\s*x86 · 3 errors · just now/);
    });
}
