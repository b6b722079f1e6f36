/** One code-server and one browser for all scenarios, and a window with a workspace of its own for a group of them. */

import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import type { Browser, BrowserContext } from 'playwright-core';

import { launch, type Look, profile } from './browser.ts';
import { CodeServer, type Options } from './code-server.ts';
import * as paths from './paths.ts';
import * as processes from './processes.ts';
import { Workbench } from './workbench.ts';

export interface Window {
    /** The text of each file of the workspace, by its path. */
    files: Record<string, string>;
    /** The files that are open at first, the last one in front. */
    open?: string[];
    /** Settings of the workspace. */
    settings?: Record<string, unknown>;
    /** A server of its own, with other options than that of the others. */
    server?: Options;
    look?: Partial<Look>;
    /** Where the workspace is, if the path is to be seen. */
    folder?: string;
}

/** Home directories, workspaces and logs of this run. */
export const home = mkdtempSync(join(tmpdir(), 'handlens-e2e-'));
let browser: Promise<Browser> | undefined;
let shared: Promise<CodeServer> | undefined;
let windows = 0;

processes.markChildren();
process.on('exit', () => rmSync(home, { recursive: true, force: true, maxRetries: 3 }));

/** A window, and what ends it. */
export async function openWindow(window: Window): Promise<{ workbench: Workbench; close: () => Promise<void>; server: CodeServer }> {
    browser ??= launch();
    const number = ++windows;
    const server = window.server
        ? CodeServer.start(join(home, `server-${number}`), window.server)
        : (shared ??= CodeServer.start(join(home, 'server')));
    const running = await server;
    // Others may be named like it somewhere in a window: the number keeps a leftover apart.
    const folder = window.folder ?? join(home, `workspace-${number}`);
    for (const [file, text] of Object.entries({ ...window.files, ...settings(window) })) {
        mkdirSync(dirname(join(folder, file)), { recursive: true });
        writeFileSync(join(folder, file), text);
    }
    const context: BrowserContext = await profile(await browser, running.origin, window.look);
    const page = await context.newPage();
    await page.goto(running.address(folder, window.open ?? []));
    await page.locator('.monaco-workbench .part.editor').waitFor({ timeout: 60_000 });
    const workbench = new Workbench(page, folder);
    for (const file of window.open?.slice(-1) ?? []) await workbench.untilInFront(file);
    return {
        workbench,
        server: running,
        close: async () => {
            await context.close();
            if (window.server) await running.stop();
        },
    };
}

function settings(window: Window): Record<string, string> {
    return window.settings ? { '.vscode/settings.json': JSON.stringify(window.settings, null, 4) } : {};
}

/** End the browser and the servers; an error names what outlives them. */
export async function closeAll(): Promise<void> {
    await (await browser)?.close();
    await (await shared)?.stop();
    browser = shared = undefined;
    await processes.untilNoneIsLeft();
}

/** Keep a picture of a window and the logs, to be looked at. */
export async function keep(title: string, workbench: Workbench, server: CodeServer): Promise<void> {
    const kept = join(paths.results, title.replaceAll(/[^\w -]+/g, ''));
    mkdirSync(kept, { recursive: true });
    await workbench.page.screenshot({ path: join(kept, 'window.png') });
    cpSync(server.logs, join(kept, 'logs'), { recursive: true });
}

export type Scenario = (name: string, act: (workbench: Workbench) => Promise<void>) => void;

/** Scenarios that share a window, in order; a failed one leaves a picture and the logs. */
export function inWindow(title: string, window: Window, scenarios: (scenario: Scenario) => void): void {
    describe(title, () => {
        let open: Awaited<ReturnType<typeof openWindow>> | undefined;
        let failed = '';
        before(async () => {
            open = await openWindow(window);
        });
        after(async () => {
            await open?.close();
        });
        scenarios((name, act) => {
            test(name, async () => {
                // It would start from a state that nobody meant, and wait in vain.
                if (failed) throw new Error(`not tried, since this failed in the same window: ${failed}`);
                const { workbench, server } = open!;
                try {
                    await act(workbench);
                } catch (error) {
                    failed = name;
                    await keep(`${title} - ${name}`, workbench, server);
                    throw error;
                }
            });
        });
    });
}
