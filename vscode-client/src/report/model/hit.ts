import type { Network } from "./network";
import { RANKS } from "./network";
import type { Window } from "./scale";

/** The part of the plot that decides which op a pointer means. */
export interface Target {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly window: Window;
  /** The pixel of a ratio, from above. */
  readonly pixel: (ratio: number) => number;
}

// The distance in pixels up to which a pointer means a point.
const REACH = 7;
// Points with findings count as nearer by this many pixels, for people aim at them.
const PULL = 5;

/** The op in the column under a pointer; −1 beside the network. */
export function column(x: number, width: number, window: Window, count: number): number {
  const index = Math.floor(window.from + (x / width) * (window.to - window.from));
  return x < 0 || x >= width || index < 0 || index >= count ? -1 : index;
}

/**
 * The op that a pointer means: of those whose points are near, the nearest; else the one of its column.
 *
 * It looks at the ops within reach by their index alone, so 10,000 ops cost no more than ten.
 */
export function hit(network: Network, at: Target): number {
  const own = column(at.x, at.width, at.window, network.ops.length);
  if (own < 0) {
    return -1;
  }
  const scale = at.width / (at.window.to - at.window.from);
  const around = Math.ceil(REACH / scale);
  let best = own;
  let nearest = REACH;
  const end = Math.min(network.ops.length - 1, own + around);
  for (let index = Math.max(0, own - around); index <= end; index++) {
    const dx = (index + 0.5 - at.window.from) * scale - at.x;
    const grave = (network.severity[index] as number) > RANKS.hint;
    for (const series of [network.accumulated, network.introduced]) {
      const ratio = series[index] as number;
      const dy = at.pixel(ratio) - at.y;
      const pull = grave && series === network.accumulated ? PULL : 0;
      const distance = Math.hypot(dx, dy) - pull;
      if (distance < nearest) {
        nearest = distance;
        best = index;
      }
    }
  }
  return best;
}
