/** Interpreters that cannot run models. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';

import * as paths from '../harness/paths.ts';
import { home, inWindow } from '../harness/stage.ts';
import { TINY_CNN } from './models.ts';

const bare = join(home, 'without-torch');
execFileSync(paths.interpreter, ['-m', 'venv', '--without-pip', bare]);
const python = join(bare, 'bin', 'python');

inWindow(
    'An interpreter without torch',
    { files: { 'tiny_cnn.py': TINY_CNN }, open: ['tiny_cnn.py'], settings: { 'handlens.interpreter': python } },
    (scenario) => {
        scenario('is named, with what it lacks', async (workbench) => {
            await workbench.goTo(48);
            await workbench.untilSquiggles({ severity: 'error', text: 'handlens_tiny' });
            const [problem] = await workbench.problems(1);
            assert.ok(problem!.startsWith(`torch is not installed in ${python}.`), problem);
        });

        scenario('is replaced by another one in the settings, and the model runs', async (workbench) => {
            await workbench.open('settings.json');
            await workbench.replace(bare, join(paths.repository, '.venv'));
            await workbench.save();
            await workbench.open('tiny_cnn.py');
            await workbench.goTo(31);
            await workbench.untilSquiggles(
                { severity: 'error', text: 'F.relu(self.bn1(self.conv1(x)))' },
                { severity: 'error', text: 'self.conv2(x)' },
            );
        });

        scenario('is told with what can be done about it', async (workbench) => {
            symlinkSync(join(paths.repository, '.venv'), join(workbench.folder, '.venv'));
            await workbench.open('settings.json');
            await workbench.replace(join(paths.repository, '.venv'), bare);
            await workbench.save();
            await workbench.open('tiny_cnn.py');
            const told = workbench.notification(/torch is not installed in/);
            await told.getByRole('button', { name: 'Copy pip Command' }).waitFor();
            await told.getByRole('button', { name: 'Use .venv/bin/python' }).waitFor();
            await told.getByRole('button', { name: 'Choose Interpreter' }).click();
            const own = workbench.quickRows.filter({ hasText: '.venv/bin/python' }).first();
            await own.filter({ hasText: /torch 2\.\d+\.\d+\S* · torchao 0\.\d+/ }).click();
            await workbench.goTo(31);
            await workbench.untilSquiggles(
                { severity: 'error', text: 'F.relu(self.bn1(self.conv1(x)))' },
                { severity: 'error', text: 'self.conv2(x)' },
            );
        });
    },
);
