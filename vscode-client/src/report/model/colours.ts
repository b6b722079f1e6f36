import type { OpData } from "../data";

/** Ratios are coloured in steps of 10 dB, from 0 up; the last step is for ops without any error. */
export const STEPS = 6;
/** The step of ops that are not quantized, which have an outline and no colour. */
export const IN_FLOAT = STEPS + 1;

/** The step of a ratio: 0 under 10 dB, `STEPS` where there is no ratio. */
export function step(ratio: number): number {
  if (Number.isNaN(ratio)) {
    return STEPS;
  }
  return Math.min(Math.max(Math.floor(ratio / 10), 0), STEPS - 1);
}

/** The step of the lowest introduced ratio of some ops; if none has a ratio, whether they are in float. */
export function stepOf(ops: readonly (OpData | undefined)[], introduced: number): number {
  return Number.isNaN(introduced) && ops.every((each) => each?.in_float)
    ? IN_FLOAT
    : step(introduced);
}

/** The verdicts without a ratio, in words. */
export const NO_RATIO: Readonly<Record<number, string>> = {
  [STEPS]: "no error",
  [IN_FLOAT]: "not quantized",
};

/** The meaning of each step, for a legend. */
export const LEGEND: readonly string[] = Array.from(
  { length: IN_FLOAT + 1 },
  (_, each) => NO_RATIO[each] ?? (each === 0 ? "under 10 dB" : `${10 * each} dB`),
);
