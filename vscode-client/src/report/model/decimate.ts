import type { Window } from "./scale";

/** A series reduced to columns of pixels; NaN for a column without a value. */
export interface Columns {
  readonly low: Float32Array;
  readonly high: Float32Array;
  readonly first: Float32Array;
  readonly last: Float32Array;
}

/**
 * The lowest, highest, first and last value of each of `width` columns.
 *
 * These four draw the same pixels as all values would: a line from column to column joins the last
 * with the first, and within a column it covers what is between the lowest and the highest.
 */
export function columns(values: Float32Array, window: Window, width: number): Columns {
  const low = new Float32Array(width).fill(NaN);
  const high = new Float32Array(width).fill(NaN);
  const first = new Float32Array(width).fill(NaN);
  const last = new Float32Array(width).fill(NaN);
  const scale = width / (window.to - window.from);
  const end = Math.min(values.length, Math.ceil(window.to));
  for (let index = Math.max(0, Math.floor(window.from)); index < end; index++) {
    const value = values[index] as number;
    const column = Math.floor((index + 0.5 - window.from) * scale);
    if (value !== value || column < 0 || column >= width) {
      continue;
    }
    if (!(value >= (low[column] as number))) {
      low[column] = value;
    }
    if (!(value <= (high[column] as number))) {
      high[column] = value;
    }
    if (first[column] !== first[column]) {
      first[column] = value;
    }
    last[column] = value;
  }
  return { low, high, first, last };
}

/** True if there are so many ops to a pixel that columns are drawn instead of them. */
export function crowded(window: Window, width: number): boolean {
  return window.to - window.from > 1.5 * width;
}
