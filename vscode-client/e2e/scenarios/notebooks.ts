/** A model in a notebook. */

import type { Scenario } from '../harness/stage.ts';
import { TINY_CNN } from './models.ts';

/** The model in one cell, its target in another. */
export function notebook(): string {
    const at = TINY_CNN.indexOf('def handlens_tiny');
    const cells = [TINY_CNN.slice(TINY_CNN.indexOf('import torch'), at), TINY_CNN.slice(at)];
    return JSON.stringify({
        nbformat: 4,
        nbformat_minor: 5,
        metadata: { language_info: { name: 'python' } },
        cells: cells.map((text, index) => ({
            cell_type: 'code',
            id: `cell-${index}`,
            metadata: {},
            execution_count: null,
            outputs: [],
            source: text.trim().split(/(?<=\n)/),
        })),
    });
}

export function notebooks(scenario: Scenario): void {
    scenario('with a notebook has squiggles in its cells', async (workbench) => {
        await workbench.openNotebook('tiny.ipynb');
        await workbench.untilSquiggles(
            { severity: 'error', text: 'F.relu(self.bn1(self.conv1(x)))' },
            { severity: 'error', text: 'self.conv2(x)' },
        );
    });

    scenario('with a notebook has the lens of its target in the cell that declares it', async (workbench) => {
        await workbench.untilLens(/^Handlens: output 9\.\d dB, top-1 [\d.]+ % · worst conv2d \d+\.\d dB · rerun$/);
    });
}
