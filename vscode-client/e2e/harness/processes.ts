/** Processes that end with the tests, however those end. */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { openSync, readFileSync, readdirSync } from 'node:fs';

import { until } from './until.ts';

/** Every process that this one starts inherits it, and so can be found, whoever its parent is now. */
const MARK = `HANDLENS_E2E=${randomUUID()}`;

const groups = new Set<ChildProcess>();

export function markChildren(): void {
    const [name, value] = MARK.split('=') as [string, string];
    process.env[name] = value;
}

/** A process in a group of its own; what it prints goes to a file. */
export function start(command: string, args: string[], env: NodeJS.ProcessEnv, log: string): ChildProcess {
    const output = openSync(log, 'a');
    const child = spawn(command, args, {
        env: { ...process.env, ...env },
        detached: true,
        stdio: ['ignore', output, output],
    });
    groups.add(child);
    return child;
}

/** Run to the end; a failure names what was printed. */
export async function run(command: string, args: string[], env: NodeJS.ProcessEnv, log: string): Promise<void> {
    const child = start(command, args, env, log);
    const [status] = (await once(child, 'exit')) as [number | null];
    groups.delete(child);
    if (status !== 0) {
        throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${readFileSync(log, 'utf8')}`);
    }
}

/** End a process and all of its group. */
export async function stop(child: ChildProcess): Promise<void> {
    if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit');
        kill(child, 'SIGTERM');
        await exited;
    }
    groups.delete(child);
    kill(child, 'SIGKILL');
}

function kill(child: ChildProcess, signal: NodeJS.Signals): void {
    try {
        process.kill(-child.pid!, signal);
    } catch {
        // The whole group has gone already.
    }
}

/** Number and command line of each process that was started from here, at whatever remove. */
export function running(): string[] {
    const found: string[] = [];
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
        try {
            if (readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(MARK)) {
                found.push(`${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()}`);
            }
        } catch {
            // It ended while it was looked at, or belongs to somebody else.
        }
    }
    return found;
}

/** Wait until nothing that was started here runs; an error names what does. */
export async function untilNoneIsLeft(): Promise<void> {
    await until(
        () => running().length === 0,
        () => `processes outlive the tests:\n${running().join('\n')}`,
    );
}

process.on('exit', () => {
    for (const child of groups) kill(child, 'SIGKILL');
    // Workers have groups of their own.
    for (const command of running()) {
        try {
            process.kill(Number.parseInt(command), 'SIGKILL');
        } catch {
            // It has just ended.
        }
    }
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => process.exit(1));
}
