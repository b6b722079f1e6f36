import type { AdviceData, ScoresData } from "../data";
import { db, fixed, short } from "./format";
import type { Range } from "./scale";
import { decibels, ticks } from "./scale";

/** The output after some of the steps of an advice. */
export interface Point {
  /** How many steps; 0 for none. */
  readonly steps: number;
  /** NaN if the output is exact, or could not be compared. */
  readonly value: number;
  readonly output: ScoresData;
}

/** The curve of steps against the objective. */
export interface Curve {
  readonly points: readonly Point[];
  readonly range: Range;
  /** A number of the axis as text. */
  readonly label: (value: number) => string;
  readonly unit: string;
}

export function curve(advice: AdviceData): Curve {
  const isMetric = advice.objective === "metric";
  const outputs = [advice.before, ...advice.steps.map((step) => step.output)];
  const points = outputs.map((output, steps) => ({
    steps,
    value: (isMetric ? output.metric : output.sqnr_db) ?? NaN,
    output,
  }));
  const values = points.map(({ value }) => value).filter((value) => !Number.isNaN(value));
  return isMetric
    ? { points, range: spread(values), label: short, unit: "metric" }
    : {
        points,
        range: decibels(Float32Array.from(values)),
        label: (value) => String(value),
        unit: "dB",
      };
}

/** The ticks of a curve's axis, as close as `space` pixels allow. */
export function axis({ range, unit }: Curve, space: number): number[] {
  if (unit === "dB") {
    return ticks(range, space);
  }
  const step = (range.high - range.low) / 4;
  return [0, 1, 2, 3, 4].map((each) => range.low + each * step);
}

/** A range with some room around values that may all be the same. */
function spread(values: readonly number[]): Range {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const room = 0.05 * (high - low || Math.abs(high) || 1);
  return { low: low - room, high: high + room };
}

/** What steps win: "output 9.2 → 42.6 dB". */
export function gain(advice: AdviceData, output: ScoresData): string {
  const { before, objective } = advice;
  if (objective === "metric" && before.metric !== null && output.metric !== null) {
    return `metric ${short(before.metric)} → ${short(output.metric)}`;
  }
  return before.sqnr_db !== null && output.sqnr_db !== null
    ? `output ${fixed(before.sqnr_db)} → ${db(output.sqnr_db)}`
    : `output ${before.text} → ${output.text}`;
}

/** How much more a step gives than the one before it; empty where that is no number. */
export function more({ points }: Curve, steps: number): string {
  const by = (points[steps]?.value ?? NaN) - (points[steps - 1]?.value ?? NaN);
  return Number.isNaN(by) ? "" : `${by < 0 ? "" : "+"}${fixed(by)}`;
}

/** A share from 0 to 1 in percents. */
export function share(value: number): string {
  if (value === 0) {
    return "0 %";
  }
  return value < 0.001 ? "< 0.1 %" : `${(100 * value).toPrecision(value < 0.1 ? 2 : 3)} %`;
}
