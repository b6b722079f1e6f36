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
