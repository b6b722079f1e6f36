/** A VS Code that serves its workbench to a browser, with the extension installed. */

import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import * as paths from './paths.ts';
import * as processes from './processes.ts';
import { until } from './until.ts';

/** Settings of the machine: they are there before the extension starts, as the user's are not always. */
const SETTINGS = {
    'handlens.interpreter': paths.interpreter,
    'files.autoSave': 'off',
    'editor.autoClosingBrackets': 'never',
    'editor.quickSuggestions': { other: 'off', comments: 'off', strings: 'off' },
    'editor.minimap.enabled': false,
    'git.enabled': false,
};

/** What is the user's, not the machine's. */
const USER_SETTINGS = {
    'telemetry.telemetryLevel': 'off',
    'workbench.startupEditor': 'none',
    'workbench.tips.enabled': false,
    'workbench.reduceMotion': 'on',
    'window.commandCenter': false,
    'chat.disableAIFeatures': true,
    'workbench.secondarySideBar.defaultVisibility': 'hidden',
    'security.workspace.trust.startupPrompt': 'always',
    'extensions.ignoreRecommendations': true,
    'update.showReleaseNotes': false,
};

export interface Options {
    /** Ask before a workspace is trusted, as VS Code does when nothing is set. */
    asksForTrust?: boolean;
    /** More of the user's settings. */
    settings?: Record<string, unknown>;
}

export class CodeServer {
    readonly port: number;
    /** The folder that has its settings and its logs. */
    readonly data: string;
    private readonly process: ChildProcess;

    private constructor(process: ChildProcess, port: number, data: string) {
        this.process = process;
        this.port = port;
        this.data = data;
    }

    /** Start one, with everything that it writes under `home`. */
    static async start(home: string, options: Options = {}): Promise<CodeServer> {
        const data = join(home, 'data');
        const log = join(home, 'code-server.log');
        const temporary = join(home, 'tmp');
        mkdirSync(temporary, { recursive: true });
        const env = {
            HOME: home,
            XDG_CONFIG_HOME: join(home, 'config'),
            XDG_DATA_HOME: join(home, 'share'),
            XDG_CACHE_HOME: join(home, 'cache'),
            TMPDIR: temporary,
            // Else the server and the browser call the marketplace.
            EXTENSIONS_GALLERY: '{}',
        };
        write(join(data, 'Machine', 'settings.json'), SETTINGS);
        write(join(data, 'User', 'settings.json'), { ...USER_SETTINGS, ...options.settings });
        const common = [
            paths.codeServer,
            ...['--user-data-dir', data],
            ...['--extensions-dir', join(home, 'extensions')],
            ...['--config', join(home, 'config.yaml')],
        ];
        await processes.run(process.execPath, [...common, '--install-extension', paths.vsix], env, log);
        const child = processes.start(
            process.execPath,
            [
                ...common,
                ...['--auth', 'none', '--bind-addr', '127.0.0.1:0'],
                ...['--disable-telemetry', '--disable-update-check', '--disable-proxy'],
                '--disable-getting-started-override',
                // Without it language servers outlive the page for three hours.
                ...['--reconnection-grace-time', '5'],
                ...(options.asksForTrust ? [] : ['--disable-workspace-trust']),
            ],
            env,
            log,
        );
        const said = () => readFileSync(log, 'utf8');
        const address = await until(
            () => /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(said()),
            () => `code-server does not listen:\n${said()}`,
        );
        return new CodeServer(child, Number(address[1]), data);
    }

    get origin(): string {
        return `http://127.0.0.1:${this.port}`;
    }

    /** The address of a window of a folder, with some of its files open, the last one in front. */
    address(folder: string, files: readonly string[]): string {
        const address = new URL(this.origin);
        address.searchParams.set('folder', folder);
        // Without the authority the editor shows no diagnostics.
        const open = files.map((file) => ['openFile', `vscode-remote://127.0.0.1:${this.port}${join(folder, file)}`]);
        address.searchParams.set('payload', JSON.stringify(open));
        return address.href;
    }

    get logs(): string {
        return join(this.data, 'logs');
    }

    async stop(): Promise<void> {
        await processes.stop(this.process);
    }
}

function write(file: string, settings: object): void {
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, JSON.stringify(settings, null, 4));
}
