/** Scales of the network plot: decibels upwards, ops from left to right. */

// A single op must not stretch the axis: ratios beyond this are drawn at its end.
const LOWEST_DB = -20;
const HIGHEST_DB = 100;

/** Fewer ops than this are never shown across the whole plot. */
export const CLOSEST = 8;

export interface Range {
  readonly low: number;
  readonly high: number;
}

/** The range of the axis of decibels, in whole tens: it has 0 and 40 in it, so that plots compare. */
export function decibels(...series: readonly Float32Array[]): Range {
  let low = 0;
  let high = 40;
  for (const values of series) {
    for (const value of values) {
      if (value < low) {
        low = value;
      } else if (value > high) {
        high = value;
      }
    }
  }
  return {
    low: Math.max(LOWEST_DB, 10 * Math.floor(low / 10)),
    high: Math.min(HIGHEST_DB, 10 * Math.ceil(high / 10)),
  };
}

/** Ticks at whole tens (or twenties, fifties), as close as `space` pixels allow at `least` pixels each. */
export function ticks(range: Range, space: number, least = 28): number[] {
  const span = range.high - range.low;
  const step = [10, 20, 50, 100].find((each) => (space * each) / span >= least) ?? 200;
  const found = [];
  for (let value = step * Math.ceil(range.low / step) + 0; value <= range.high; value += step) {
    found.push(value);
  }
  return found;
}

/** The pixel of a ratio between `top` and `bottom`; ratios beyond the range are drawn at its ends. */
export function pixelOf(ratio: number, range: Range, top: number, bottom: number): number {
  const within = Math.min(Math.max(ratio, range.low), range.high);
  return bottom - ((within - range.low) / (range.high - range.low)) * (bottom - top);
}

/** The part of the network that is in view: op `i` takes the place from `i` to `i + 1`. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/** A window that is wide enough and inside the network. */
export function clamp(window: Window, count: number): Window {
  const width = Math.min(Math.max(window.to - window.from, Math.min(CLOSEST, count)), count);
  const middle = (window.from + window.to) / 2;
  const from = Math.min(Math.max(middle - width / 2, 0), count - width);
  return { from, to: from + width };
}

/** The window `factor` times as wide, with the op at `anchor` where it was. */
export function zoom(window: Window, factor: number, anchor: number, count: number): Window {
  const width = window.to - window.from;
  const next = Math.min(Math.max(width * factor, Math.min(CLOSEST, count)), count);
  const share = width > 0 ? (anchor - window.from) / width : 0.5;
  const from = Math.min(Math.max(anchor - share * next, 0), count - next);
  return { from, to: from + next };
}

export function pan(window: Window, by: number, count: number): Window {
  const width = window.to - window.from;
  const from = Math.min(Math.max(window.from + by, 0), Math.max(count - width, 0));
  return { from, to: from + width };
}

/** The window, moved just far enough to show an op with some of its neighbours. */
export function reveal(window: Window, index: number, count: number): Window {
  const width = window.to - window.from;
  const margin = Math.min(width * 0.1, 10);
  if (index < window.from + margin) {
    return pan(window, index - margin - window.from, count);
  }
  if (index + 1 > window.to - margin) {
    return pan(window, index + 1 + margin - window.to, count);
  }
  return window;
}

/** The window on another run of the network, with the op that was at `last` where it was. */
export function follow(window: Window, last: number, now: number, count: number): Window {
  return pan(clamp(window, count), now - last, count);
}

/** The window on a longer or shorter network that shows the same part of it. */
export function rescale(window: Window, before: number, after: number): Window {
  if (before === after || before === 0) {
    return clamp(window, after);
  }
  const factor = after / before;
  return clamp({ from: window.from * factor, to: window.to * factor }, after);
}
