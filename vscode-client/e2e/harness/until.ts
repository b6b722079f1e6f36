/** Waiting for a state of something that sends no events. */

import { setTimeout } from 'node:timers/promises';

const GUARD_MS = 45_000;
const BETWEEN_LOOKS_MS = 50;

/** What `look` gives, as soon as that is something; after 45 s an error with what `complaint` says. */
export async function until<T>(
    look: () => T | Promise<T>,
    complaint: () => string | Promise<string>,
    guard = GUARD_MS,
): Promise<NonNullable<T>> {
    const end = Date.now() + guard;
    for (;;) {
        const found = await look();
        if (found) return found;
        if (Date.now() > end) throw new Error(await complaint());
        await setTimeout(BETWEEN_LOOKS_MS);
    }
}

const TRIES = 4;
const TRY_MS = 8_000;

/**
 * Do something that the editor may undo at once, as a menu closes when results arrive: again where it came to
 * nothing, as a person would. `act` gets the time that it may wait, in milliseconds.
 */
export async function retrying<T>(act: (patience: number) => Promise<T>, clear: () => Promise<void>): Promise<T> {
    for (let left = TRIES; ; left--) {
        try {
            return await act(TRY_MS);
        } catch (error) {
            if (left <= 1) throw error;
            await clear();
        }
    }
}
