/** A window of VS Code, with what a user does in it and sees of it. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { FrameLocator, Locator, Page } from 'playwright-core';

import { type Box, type Decoration, decorations, locate } from './text-on-screen.ts';
import { retrying, until } from './until.ts';

const SQUIGGLES = ['squiggly-error', 'squiggly-warning', 'squiggly-info'];

/** A run has a model to export, on a machine that may be busy; what the workbench does by itself has less time. */
const RUN_MS = 120_000;

export interface Squiggle {
    /** The text that it is drawn under. */
    text: string;
    severity: string;
}

export class Workbench {
    readonly page: Page;
    readonly folder: string;

    constructor(page: Page, folder: string) {
        this.page = page;
        this.folder = folder;
    }

    // Files and editors

    /** Open a file of the workspace by its name, and wait until it is in front. */
    async open(file: string): Promise<void> {
        await this.page.keyboard.press('Control+P');
        await this.pick(file, file.split('/').at(-1)!);
        await this.untilInFront(file);
    }

    async untilInFront(file: string): Promise<void> {
        await this.page.locator(`.editor-instance .monaco-editor[data-uri$="/${file}"] .view-line`).first().waitFor();
    }

    /** Open a notebook by its name, and wait until its first cell is in front. */
    async openNotebook(file: string): Promise<void> {
        await this.page.keyboard.press('Control+P');
        await this.pick(file);
        await this.page.locator('.notebookOverlay .monaco-editor .view-line').first().waitFor();
    }

    /** Save the editor in front, and wait until the file has the text. */
    async save(): Promise<void> {
        await this.page.keyboard.press('Control+S');
        await this.page.locator('.part.editor .tab.active.dirty').waitFor({ state: 'detached' });
    }

    /** A file as it is on the disk. */
    readonly read = (file: string): string => readFileSync(join(this.folder, file), 'utf8');

    /** The same, or undefined as long as it is not there. */
    readIfThere(file: string): string | undefined {
        return existsSync(join(this.folder, file)) ? this.read(file) : undefined;
    }

    // Text

    /** The box of a text on the screen; `occurrence` counts from 0. */
    async boxOf(text: string, occurrence = 0): Promise<Box> {
        let last = '';
        return await until(
            async () => {
                const box = await this.page.evaluate(locate, [text, occurrence] as [string, number]);
                // Lines move when a lens comes or goes, and when the editor scrolls.
                const before = last;
                last = JSON.stringify(box);
                return last === before ? box : null;
            },
            () => `the editor does not show: ${text}`,
        );
    }

    /** Put the caret before a text. */
    async putCaret(text: string, occurrence = 0): Promise<void> {
        const { x, y, height } = await this.boxOf(text, occurrence);
        await this.page.mouse.click(x + 1, y + height / 2);
    }

    /** Put the caret at the start of a line, and scroll there. */
    async goTo(line: number): Promise<void> {
        await this.page.keyboard.press('Control+G');
        await this.quickInput.waitFor();
        await this.quickInput.fill(`:${line}`);
        await this.page.keyboard.press('Enter');
        await this.untilSelection(`Ln ${line}, Col 1`);
    }

    async select(text: string, occurrence = 0): Promise<void> {
        const { x, y, width, height } = await this.boxOf(text, occurrence);
        await this.page.mouse.click(x + 1, y + height / 2);
        await this.page.keyboard.down('Shift');
        await this.page.mouse.click(x + width - 1, y + height / 2);
        await this.page.keyboard.up('Shift');
    }

    async replace(text: string, by: string, occurrence = 0): Promise<void> {
        await this.select(text, occurrence);
        await this.type(by);
    }

    async type(text: string): Promise<void> {
        await this.page.keyboard.insertText(text);
    }

    /** What a line shows that has a text in it, inlay hints included. */
    async lineWith(text: string): Promise<string> {
        const line = this.page.locator('.editor-instance .view-line').filter({ hasText: spaced(text) }).first();
        return plain((await line.textContent()) ?? '');
    }

    /** Wait until the editor in front shows a text. */
    async untilText(text: string): Promise<void> {
        await this.boxOf(text);
    }

    /** What the status bar says about the selection: `Ln 31, Col 29 (13 selected)`. */
    async selection(): Promise<string> {
        return plain((await this.page.locator('[id="status.editor.selection"]').textContent()) ?? '');
    }

    async untilSelection(wanted: string): Promise<void> {
        await until(
            async () => (await this.selection()) === wanted,
            async () => `the selection is not ${wanted} but ${await this.selection()}`,
        );
    }

    // What Handlens shows in the editor

    async squiggles(): Promise<Squiggle[]> {
        const found = await this.decorations(SQUIGGLES);
        return found.map(({ text, kind }) => ({ text, severity: kind.replace('squiggly-', '') }));
    }

    async decorations(classes: string[]): Promise<Decoration[]> {
        return await this.page.evaluate(decorations, classes);
    }

    /**
     * Wait until squiggles are under some texts, and under no others.
     *
     * What is found about a target as a whole is under its name, which may be out of view: that counts where it is
     * wanted.
     */
    async untilSquiggles(...wanted: Squiggle[]): Promise<void> {
        const said = (each: Squiggle[]) => each.map(({ text, severity }) => `${severity}: ${text}`).sort().join('\n');
        const names = new Set(wanted.map(({ text }) => text));
        const there = async () =>
            said((await this.squiggles()).filter(({ text }) => !text.startsWith('handlens_') || names.has(text)));
        await until(
            async () => (await there()) === said(wanted),
            async () => `the squiggles are not\n${said(wanted)}\nbut\n${await there()}`,
            RUN_MS,
        );
    }

    /** Point at a text, and wait for what is then shown. */
    async hover(text: string, occurrence = 0): Promise<Locator> {
        const hover = this.page.locator('.monaco-editor .monaco-hover:visible, .monaco-resizable-hover .monaco-hover:visible').first();
        await retrying(
            async (patience) => {
                const { x, y, width, height } = await this.boxOf(text, occurrence);
                // A pointer that comes from nowhere is no hover.
                await this.page.mouse.move(x + width / 2 + 5, y + height / 2);
                await this.page.mouse.move(x + width / 2, y + height / 2);
                await hover.locator('.hover-row').first().waitFor({ timeout: patience });
            },
            () => this.page.mouse.move(0, 0),
        );
        return hover;
    }

    /** The first lens whose text matches, when it is there. */
    async untilLens(wanted: RegExp): Promise<Locator> {
        const lens = this.page.locator('.codelens-decoration a:visible').filter({ hasText: wanted }).first();
        await lens.waitFor({ timeout: RUN_MS });
        return lens;
    }

    // What a user asks for

    /** Run a command of the palette by its full title. */
    async command(title: string): Promise<void> {
        await this.page.keyboard.press('F1');
        await this.pick(`>${title}`, title);
    }

    /** Type into the quick input, and take the row of a name. */
    async pick(typed: string, name = typed): Promise<void> {
        await this.quickInput.waitFor();
        await this.quickInput.fill(typed);
        await this.row(name).click();
    }

    /** The row of the quick input that is called `name`. */
    row(name: string): Locator {
        const label = this.page.locator('.label-name').filter({ hasText: new RegExp(`^\\s*${escaped(name)}\\s*$`) });
        return this.quickRows.filter({ has: label }).first();
    }

    get quickRows(): Locator {
        return this.page.locator('.quick-input-widget:visible .monaco-list-row');
    }

    private get quickInput(): Locator {
        return this.page.locator('.quick-input-widget:visible input[type="text"]').first();
    }

    /** Open the menu of quick fixes for a text. */
    async quickFixes(text: string, occurrence = 0): Promise<void> {
        await this.openActions(async () => {
            await this.putCaret(text, occurrence);
            await this.page.keyboard.press('Control+Period');
        });
    }

    /** Take one of the quick fixes for a text. */
    async quickFix(text: string, title: string | RegExp, occurrence = 0): Promise<void> {
        await this.takeAction(title, async () => {
            await this.putCaret(text, occurrence);
            await this.page.keyboard.press('Control+Period');
        });
    }

    /** Take an entry of the menu of actions that `open` opens. */
    async takeAction(title: string | RegExp, open: () => Promise<void>): Promise<void> {
        await this.openActions(open, (patience) => this.actions.filter({ hasText: title }).first().click({ timeout: patience }));
    }

    private async openActions(open: () => Promise<void>, then?: (patience: number) => Promise<void>): Promise<void> {
        await retrying(
            async (patience) => {
                await open();
                await this.actions.first().waitFor({ timeout: patience });
                await then?.(patience);
            },
            () => this.page.keyboard.press('Escape'),
        );
    }

    private get actions(): Locator {
        return this.page.locator('.action-widget .monaco-list-row.action');
    }

    // Elsewhere in the window

    /** The rows of the Problems panel, once there are as many as wanted: message, source, code and place. */
    async problems(count: number): Promise<string[]> {
        const rows = this.page.locator('.markers-panel .monaco-list-row[aria-level="2"]');
        if (!(await this.page.locator('.markers-panel').isVisible())) await this.command('Problems: Focus on Problems View');
        // The list draws only the rows that it has room for.
        await this.command('View: Toggle Maximized Panel');
        await rows.nth(count - 1).waitFor();
        await rows.nth(count).waitFor({ state: 'detached' });
        const texts = (await rows.allTextContents()).map(plain);
        await this.command('View: Toggle Maximized Panel');
        return texts;
    }

    notification(text: string | RegExp): Locator {
        return this.page.locator('.notifications-toasts .notification-list-item, .notifications-center .notification-list-item').filter({ hasText: text }).first();
    }

    /** The entry of the status bar that has a text in it. */
    status(text: string | RegExp): Locator {
        return this.page.locator('.part.statusbar .statusbar-item').filter({ hasText: text }).first();
    }

    /** The entry of Handlens among the language status items, which a click on `{}` shows. */
    async languageStatus(): Promise<Locator> {
        await this.page.locator('[id="status.languageStatus"]').click();
        const item = this.page.locator('.hover-language-status .element').filter({ hasText: /handlens/i }).first();
        await item.waitFor();
        return item;
    }

    /** A page of the documentation, when it is in front as Markdown is shown. */
    async untilPage(file: string, title: string): Promise<void> {
        await this.page.locator('.tab.active').filter({ hasText: file }).waitFor();
        await this.webview.getByRole('heading', { name: title }).waitFor();
    }

    /** The document of the webview in front. */
    get webview(): FrameLocator {
        return this.page.frameLocator('iframe.webview.ready').frameLocator('iframe#active-frame');
    }
}

/** The text of an element, with spaces that are. */
export function plain(text: string): string {
    return text.replaceAll('\u00a0', ' ').trim();
}

/** The pattern of a text that is shown with other spaces than it has. */
function spaced(text: string): RegExp {
    return new RegExp(escaped(text).replaceAll(' ', '[ \u00a0]'));
}

function escaped(text: string): string {
    return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
