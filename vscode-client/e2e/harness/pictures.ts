/** Pictures of a window, as documentation shows them. */

import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import type { Locator, Page } from 'playwright-core';

import { e2e, interpreter, repository } from './paths.ts';
import type { Box } from './text-on-screen.ts';

export const folder = join(repository, 'docs', 'images', 'vscode');

/** What is seen in a picture beside the thing it is of is kept to a minimum. */
export const CALM = {
    'breadcrumbs.enabled': false,
    'editor.fontSize': 14,
    'editor.guides.indentation': false,
    'editor.hideCursorInOverviewRuler': true,
    'editor.matchBrackets': 'never',
    'editor.occurrencesHighlight': 'off',
    'editor.overviewRulerBorder': false,
    'editor.renderLineHighlight': 'none',
    'editor.scrollbar.horizontal': 'hidden',
    'editor.scrollbar.vertical': 'hidden',
    'editor.stickyScroll.enabled': false,
    'window.title': '${activeEditorShort}',
    'workbench.activityBar.location': 'hidden',
    'workbench.layoutControl.enabled': false,
    'workbench.sideBar.location': 'right',
};

/** Save a picture of a window, of a part of it, or of what is around some elements. */
export async function take(page: Page, name: string, part?: Box | Locator[], margin = 12): Promise<void> {
    mkdirSync(folder, { recursive: true });
    const clip = Array.isArray(part) ? await around(part, margin) : part;
    await page.screenshot({ path: join(folder, `${name}.png`), animations: 'disabled', caret: 'hide', ...(clip && { clip }) });
}

/** Reduce the colours of all pictures: text on plain ground needs few. */
export function shrink(): void {
    execFileSync(interpreter, [join(e2e, 'shrink.py'), folder], { stdio: 'inherit' });
}

async function around(elements: Locator[], margin: number): Promise<Box> {
    const boxes = await Promise.all(elements.map((each) => each.first().boundingBox()));
    const seen = boxes.filter((each) => each !== null);
    const left = Math.max(0, Math.min(...seen.map((each) => each.x)) - margin);
    const top = Math.max(0, Math.min(...seen.map((each) => each.y)) - margin);
    const right = Math.max(...seen.map((each) => each.x + each.width)) + margin;
    const bottom = Math.max(...seen.map((each) => each.y + each.height)) + margin;
    return { x: left, y: top, width: right - left, height: bottom - top };
}
