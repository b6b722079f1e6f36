import type { Run } from "../../model/blocks";
import type { Network } from "../../model/network";
import type { Range, Window } from "../../model/scale";
import { pixelOf } from "../../model/scale";
import type { Inks } from "../theme";
import type { Layout } from "./layout";

/** The series that a plot shows. */
export interface Series {
  readonly accumulated: boolean;
  readonly introduced: boolean;
  readonly floor: boolean;
}

/** All that painting the plot depends on. */
export interface Scene {
  readonly network: Network;
  readonly lanes: readonly (readonly Run[])[];
  readonly range: Range;
  readonly window: Window;
  readonly layout: Layout;
  readonly inks: Inks;
  readonly series: Series;
}

/** The pixel of the left edge of an op, or of a place between two. */
export function across(scene: Scene, index: number): number {
  const { left, right } = scene.layout;
  const { from, to } = scene.window;
  return left + ((index - from) / (to - from)) * (right - left);
}

export function upwards(scene: Scene, ratio: number): number {
  return pixelOf(ratio, scene.range, scene.layout.top, scene.layout.bottom);
}
