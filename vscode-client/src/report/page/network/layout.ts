/** Where the parts of the network plot are, in CSS pixels from its upper left corner. */
export interface Layout {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly right: number;
  /** The plot of ratios. */
  readonly top: number;
  readonly bottom: number;
  /** The lanes of modules, outermost first, then that of the ops. */
  readonly lanes: readonly Band[];
  /** The strip of the whole network, with a window on the part in view. */
  readonly overview: Band;
}

export interface Band {
  readonly top: number;
  readonly bottom: number;
}

const LANE = 15;
const GAP = 2;
const OVERVIEW = 9;

/** As many of `lanes` lanes as leave the ratios most of the height. */
export function layout(width: number, height: number, lanes: number): Layout {
  const shown = Math.min(lanes, height > 300 ? 3 : height > 230 ? 2 : 1) + 1;
  const overview = { top: height - OVERVIEW - 1, bottom: height - 1 };
  const first = overview.top - 6 - shown * (LANE + GAP);
  return {
    width,
    height,
    left: 34,
    right: Math.max(width - 8, 35),
    top: 10,
    bottom: first - 7,
    lanes: Array.from({ length: shown }, (_, i) => ({
      top: first + i * (LANE + GAP),
      bottom: first + i * (LANE + GAP) + LANE,
    })),
    overview,
  };
}
