/** The browser that the workbench is shown in. It reaches nothing but the machine it runs on. */

import { type Browser, type BrowserContext, chromium } from 'playwright-core';

import * as paths from './paths.ts';

export interface Look {
    width: number;
    height: number;
    /** Pixels of the picture for each of the page. */
    scale: number;
    scheme: 'light' | 'dark';
}

const LOOK: Look = { width: 1280, height: 900, scale: 1, scheme: 'dark' };

export async function launch(): Promise<Browser> {
    return await chromium.launch({
        executablePath: paths.chromium,
        headless: true,
        args: [
            ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
            ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
            '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
        ],
    });
}

/** A browser profile of its own, in which a server's workbench has not been opened before. */
export async function profile(browser: Browser, origin: string, look: Partial<Look> = {}): Promise<BrowserContext> {
    const { width, height, scale, scheme } = { ...LOOK, ...look };
    const context = await browser.newContext({
        viewport: { width, height },
        deviceScaleFactor: scale,
        colorScheme: scheme,
        reducedMotion: 'reduce',
    });
    context.setDefaultTimeout(45_000);
    await context.route(
        (url) => url.origin !== origin && url.protocol.startsWith('http'),
        (route) => route.abort(),
    );
    return context;
}
