/** `node screenshots.ts [NAME…]` takes the pictures of docs/images/vscode; LOOK at what it took. */

import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { closeAll, keep, openWindow, type Window } from './harness/stage.ts';
import * as paths from './harness/paths.ts';
import * as pictures from './harness/pictures.ts';
import { ReportView } from './harness/report-view.ts';
import type { Workbench } from './harness/workbench.ts';
import { held, TINY_CNN } from './scenarios/models.ts';

const EFFICIENTNET = readFileSync(join(paths.repository, 'examples', 'efficientnet_lite.py'), 'utf8');
const DARK = 'Dark 2026';
const LIGHT = 'Light 2026';

/** Nothing is searched for: what shows progress would be in a picture, or not. */
const AT_REST = { 'handlens.advise': 'onDemand' };
const ADVICE: Window = { files: { 'tiny_cnn.py': TINY_CNN }, open: ['tiny_cnn.py'], look: { width: 1480, height: 1040 } };

type Act = (workbench: Workbench) => Promise<void>;

/** Windows, and the pictures that are taken in each. */
const WINDOWS: Record<string, () => Promise<void>> = {
    editor: () => inWindow({ files: { 'tiny_cnn.py': TINY_CNN }, open: ['tiny_cnn.py'], settings: AT_REST, look: { width: 1000, height: 760 } }, editor),
    advice: () => inWindow(ADVICE, advice('dark')),
    'advice-light': () => inWindow(ADVICE, advice('light'), LIGHT),
    walkthrough: () => inWindow({ files: { 'tiny_cnn.py': TINY_CNN }, open: ['tiny_cnn.py'], look: { width: 1280, height: 760 } }, walkthrough),
    progress: () => inWindow({ files: { 'tiny_cnn.py': held(TINY_CNN) }, open: ['tiny_cnn.py'], look: { width: 1000, height: 500 } }, progress),
    missing: async () => {
        const folder = join(tmpdir(), 'demo');
        execFileSync(paths.interpreter, ['-m', 'venv', '--without-pip', join(folder, '.venv')]);
        const settings = { 'handlens.interpreter': '${workspaceFolder}/.venv/bin/python' };
        const window = { files: { 'tiny_cnn.py': TINY_CNN }, open: ['tiny_cnn.py'], settings, folder, look: { width: 1000, height: 500 } };
        try {
            await inWindow(window, missing);
        } finally {
            rmSync(folder, { recursive: true });
        }
    },
    untrusted: () => inWindow({ files: { 'tiny_cnn.py': TINY_CNN }, open: ['tiny_cnn.py'], server: { asksForTrust: true }, look: { width: 1000, height: 500 } }, untrusted),
    light: () => inWindow({ files: { 'efficientnet_lite.py': EFFICIENTNET }, open: ['efficientnet_lite.py'], settings: AT_REST, look: { width: 1280, height: 800 } }, report('light'), LIGHT),
    demo: () => inWindow({ files: { 'efficientnet_lite.py': EFFICIENTNET }, open: ['efficientnet_lite.py'], settings: AT_REST, look: { width: 1280, height: 800 } }, demo),
};

const editor: Act = async (workbench) => {
    const { page } = workbench;
    await workbench.goTo(29);
    await workbench.untilSquiggles(
        { severity: 'error', text: 'F.relu(self.bn1(self.conv1(x)))' },
        { severity: 'error', text: 'self.conv2(x)' },
    );
    await workbench.untilLens(/^Handlens: 10 ops/);
    await pictures.take(page, 'squiggles', { x: 0, y: 0, width: 1000, height: 720 });

    const hover = await workbench.hover('self.conv2(x)');
    await hover.locator('img').first().waitFor();
    await pictures.take(page, 'hover', { x: 0, y: 0, width: 1000, height: 720 });
    await page.keyboard.press('Escape');

    await workbench.goTo(48);
    await workbench.untilLens(/^Handlens: output/);
    await pictures.take(page, 'lenses', { x: 0, y: 330, width: 1000, height: 270 });

    await workbench.languageStatus();
    const statuses = page.locator('.monaco-hover').filter({ has: page.locator('.hover-language-status') });
    await pictures.take(page, 'status', [statuses, page.locator('[id="status.languageStatus"]'), page.locator('[id="status.editor.mode"]')]);
    await page.keyboard.press('Escape');

    await workbench.command('Handlens: Compare with another recipe');
    await workbench.row('bf16').waitFor();
    await pictures.take(page, 'recipes', [page.locator('.quick-input-widget')], 0);
    await page.keyboard.press('Escape');

    await workbench.problems(4);
    await pictures.take(page, 'problems', { x: 0, y: 480, width: 1000, height: 250 });
    await workbench.command('View: Hide Panel');
};

/** What helps: the quick fix with its number, and the curve in the report. */
function advice(name: string): Act {
    return async (workbench) => {
        const { page } = workbench;
        await workbench.goTo(48);
        await workbench.untilLens(/ · apply$/);
        await pictures.take(page, `advice-lens-${name}`, { x: 0, y: 330, width: 1000, height: 270 });
        await workbench.goTo(29);
        await workbench.untilSquiggles(
            { severity: 'error', text: 'F.relu(self.bn1(self.conv1(x)))' },
            { severity: 'error', text: 'self.conv2(x)' },
        );
        await workbench.quickFixes('self.conv2(x)');
        await pictures.take(page, `quick-fix-${name}`, { x: 0, y: 300, width: 1000, height: 560 });
        await page.keyboard.press('Escape');
        const view = new ReportView(workbench);
        await view.open();
        await view.showAdvice();
        await view.points.nth(1).click();
        await pictures.take(page, `advice-${name}`);
    };
}

const walkthrough: Act = async (workbench) => {
    const { page } = workbench;
    await workbench.untilLens(/^Handlens: /);
    await workbench.command('Welcome: Open Walkthrough...');
    await workbench.pick('Find where quantization', 'Find where quantization costs accuracy');
    await page.getByRole('button', { name: /^Read what it found/ }).click();
    await page.locator('.getting-started-media svg, .getting-started-media iframe, .getting-started-media img').first().waitFor();
    await pictures.take(page, 'walkthrough');
};

const progress: Act = async (workbench) => {
    await workbench.goTo(20);
    await workbench.status(/Handlens: handlens_tiny/).waitFor();
    await workbench.languageStatus();
    await pictures.take(workbench.page, 'progress');
    await workbench.command('Handlens: Cancel');
};

const missing: Act = async (workbench) => {
    await workbench.goTo(52);
    await workbench.untilSquiggles({ severity: 'error', text: 'handlens_tiny' });
    await workbench.hover('handlens_tiny');
    await pictures.take(workbench.page, 'missing-torch');
};

const untrusted: Act = async (workbench) => {
    await workbench.page.getByRole('button', { name: "No, I don't trust the authors" }).click();
    await workbench.goTo(50);
    await workbench.untilLens(/not trusted/);
    await workbench.languageStatus();
    await pictures.take(workbench.page, 'untrusted');
};

/** EfficientNet-Lite0: opened, read, looked at from above. */
const demo: Act = async (workbench) => {
    const { page } = workbench;
    await workbench.goTo(82);
    await workbench.status(/Handlens: handlens_imagenet/).waitFor();
    await pictures.take(page, 'demo-1-opened');
    await untilFindings(workbench);
    await pictures.take(page, 'demo-2-findings');
    const hover = await workbench.hover('self.depthwise(self.pad(x))');
    await hover.locator('img').first().waitFor();
    await pictures.take(page, 'demo-3-hover');
    await page.keyboard.press('Escape');
    await report('dark')(workbench);
};

/** Wait until a run has ended with findings in the lines that are shown. */
async function untilFindings(workbench: Workbench): Promise<void> {
    const squiggle = workbench.page.locator('.squiggly-error, .squiggly-warning, .squiggly-info').first();
    await squiggle.waitFor({ state: 'attached', timeout: 120_000 });
    await workbench.status(/Handlens: handlens_imagenet/).waitFor({ state: 'detached' });
}

function report(name: string): Act {
    return async (workbench) => {
        await workbench.goTo(82);
        await untilFindings(workbench);
        const view = new ReportView(workbench);
        await view.open();
        await view.rows.first().click();
        await view.selected.first().waitFor();
        await pictures.take(workbench.page, `report-${name}`);
    };
}

async function inWindow(window: Window, act: Act, theme = DARK): Promise<void> {
    const settings = { ...pictures.CALM, 'workbench.colorTheme': theme, ...window.settings };
    const look = { scale: 2, scheme: theme === DARK ? ('dark' as const) : ('light' as const), ...window.look };
    const { workbench, close, server } = await openWindow({ ...window, settings, look });
    await workbench.page.keyboard.press('Control+B');
    await workbench.page.locator('.part.sidebar').waitFor({ state: 'hidden' });
    try {
        await act(workbench);
    } catch (error) {
        await keep('screenshots', workbench, server);
        throw error;
    }
    await close();
}

const asked = process.argv.slice(2);
try {
    for (const [name, pictured] of Object.entries(WINDOWS)) {
        if (asked.length === 0 || asked.includes(name)) await pictured();
    }
} finally {
    await closeAll();
}
pictures.shrink();
