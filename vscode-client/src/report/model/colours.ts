import type { OpData } from "../data";

/** Ratios are coloured in steps of 10 dB, from 0 up; the last step is for what has no error at all. */
export const STEPS = 6;
/** What is not quantized has an outline and no colour. */
export const IN_FLOAT = STEPS + 1;

/** The step of a ratio: 0 under 10 dB, `STEPS` where there is no ratio. */
export function step(ratio: number): number {
  if (Number.isNaN(ratio)) {
    return STEPS;
  }
  return Math.min(Math.max(Math.floor(ratio / 10), 0), STEPS - 1);
}

/** The step of some ops' lowest introduced ratio: that they are in float counts where none has one. */
export function stepOf(ops: readonly (OpData | undefined)[], introduced: number): number {
  return Number.isNaN(introduced) && ops.every((each) => each?.in_float)
    ? IN_FLOAT
    : step(introduced);
}

/** What has no ratio, in words. */
export const NO_RATIO: Readonly<Record<number, string>> = {
  [STEPS]: "no error",
  [IN_FLOAT]: "not quantized",
};

/** What each step means, for a legend. */
export const LEGEND: readonly string[] = Array.from(
  { length: IN_FLOAT + 1 },
  (_, each) => NO_RATIO[each] ?? (each === 0 ? "under 10 dB" : `${10 * each} dB`),
);
