/** Texts of model files, all small: a run takes less than a second. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { repository } from '../harness/paths.ts';

/** The example with one line that 8 bits ruin. */
export const TINY_CNN = readFileSync(join(repository, 'examples', 'tiny_cnn.py'), 'utf8');

const TARGET = TINY_CNN.indexOf('def handlens_tiny');

/** The same in two files: the layers, and the target that measures them. */
export const LAYERS = TINY_CNN.slice(0, TARGET).trimEnd() + '\n';
export const TRAIN = `import torch\nfrom layers import TinyCNN, make_loud\n\n\n${TINY_CNN.slice(TARGET)}`;

/** A model text that adds a line to a file whenever it is executed. */
export function counted(model: string): string {
    return `${model}\n\nwith open(__file__ + ".runs", "a") as runs:\n    print("executed", file=runs)\n`;
}

/** A model text whose execution says which process it is in, and goes on until it is ended. */
export function held(model: string): string {
    return `import os, signal\nwith open(__file__ + ".pid", "w") as pid:\n    print(os.getpid(), file=pid)\nsignal.pause()\n${model}`;
}

export const NO_TORCH = 'def greet(name: str) -> str:\n    return f"Hello {name}"\n';

export const NO_TARGET = `\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 4)

    def forward(self, x):
        return self.linear(x)
`;
