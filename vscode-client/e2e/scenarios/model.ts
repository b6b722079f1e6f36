/** A model file, as it is opened, read and changed. */

import { inWindow } from '../harness/stage.ts';
import { changing } from './changing.ts';
import { counted, TINY_CNN } from './models.ts';
import { reading } from './reading.ts';

// One window for both: opening it takes longer than all that is done in it.
inWindow('A model', { files: { 'tiny_cnn.py': counted(TINY_CNN) }, open: ['tiny_cnn.py'] }, (scenario) => {
    reading(scenario);
    changing(scenario);
});
