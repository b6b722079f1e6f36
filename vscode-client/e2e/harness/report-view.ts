/** The report view, as it is pointed at and clicked on. */

import type { Locator, Page } from 'playwright-core';

import type { Workbench } from './workbench.ts';
import { until } from './until.ts';

export class ReportView {
    private readonly workbench: Workbench;
    private readonly page: Page;

    constructor(workbench: Workbench) {
        this.workbench = workbench;
        this.page = workbench.page;
    }

    /** Open it from the palette, and wait for the ops of a result. */
    async open(): Promise<void> {
        await this.workbench.command('Handlens: Show report');
        await this.rows.first().waitFor();
    }

    get plot(): Locator {
        return this.workbench.webview.getByRole('slider', { name: 'SQNR along the network' });
    }

    /** The ops of the table. */
    get rows(): Locator {
        return this.workbench.webview.getByRole('grid', { name: 'Ops' }).locator('.rows').getByRole('row');
    }

    get header(): Locator {
        return this.workbench.webview.getByRole('banner');
    }

    /** Show what helps, and wait for its curve. */
    async showAdvice(): Promise<void> {
        await this.workbench.webview.getByRole('tab', { name: 'What helps' }).click();
        await this.points.first().waitFor();
    }

    /** The points of the curve, the first of them without any change. */
    get points(): Locator {
        return this.workbench.webview.locator('.curve .point');
    }

    /** The rows of its table. */
    get steps(): Locator {
        return this.workbench.webview.getByRole('table', { name: 'Steps' }).locator('tbody').getByRole('row');
    }

    /** The changes that are chosen, and a button that makes them. */
    get offer(): Locator {
        return this.workbench.webview.locator('.advice-offer');
    }

    row(label: RegExp): Locator {
        return this.workbench.webview.getByRole('row', { name: label });
    }

    /** The row of the op that is selected. */
    get selected(): Locator {
        return this.workbench.webview.locator('.rows [role="row"][aria-selected="true"]');
    }

    /** Move the pointer over the plot until what is shown at it is about an op, and click there. */
    async clickPoint(about: RegExp): Promise<void> {
        const { x, y, width, height } = (await this.plot.boundingBox())!;
        const tooltip = this.workbench.webview.locator('.tooltip:not([hidden])');
        await until(
            async () => {
                // Where it is depends on the width: a point has a tenth of it, and an eighth of the height at least.
                for (let across = 0.06; across < 1; across += 0.04) {
                    for (let down = 0.05; down < 0.9; down += 0.1) {
                        await this.page.mouse.move(x + across * width, y + down * height);
                        if ((await tooltip.isVisible()) && about.test((await tooltip.textContent()) ?? '')) {
                            await this.page.mouse.click(x + across * width, y + down * height);
                            return true;
                        }
                    }
                }
                return false;
            },
            () => `no point of the plot is about ${about}`,
        );
    }
}
