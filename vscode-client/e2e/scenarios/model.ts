/** A model file, as it is opened, read and changed. */

import { inWindow } from '../harness/stage.ts';
import { changing } from './changing.ts';
import { counted, TINY_CNN } from './models.ts';
import { reading } from './reading.ts';

// One window for both: opening it takes longer than all that is done in it. What helps has one of its own.
const window = {
    files: { 'tiny_cnn.py': counted(TINY_CNN) },
    open: ['tiny_cnn.py'],
    settings: { 'handlens.advise': 'onDemand' },
};

inWindow('A model', window, (scenario) => {
    reading(scenario);
    changing(scenario);
});
