/** Ratios are coloured in steps of 10 dB, from 0 up; the last step is for what has no error at all. */
export const STEPS = 6;

/** The step of a ratio: 0 under 10 dB, `STEPS` where there is no ratio. */
export function step(ratio: number): number {
  if (Number.isNaN(ratio)) {
    return STEPS;
  }
  return Math.min(Math.max(Math.floor(ratio / 10), 0), STEPS - 1);
}

/** What each step means, for a legend. */
export const LEGEND: readonly string[] = Array.from({ length: STEPS + 1 }, (_, each) =>
  each === 0 ? "under 10 dB" : each === STEPS ? "no error" : `${10 * each} dB`,
);
