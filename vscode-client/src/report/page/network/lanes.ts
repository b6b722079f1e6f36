import { step, STEPS } from "../../model/colours";
import { columns } from "../../model/decimate";
import type { Run } from "../../model/blocks";
import type { Band } from "./layout";
import { across } from "./scene";
import type { Scene } from "./scene";

// In pixels: a narrower name would be unreadable.
const LEGIBLE = 22;
// A module with more of the network than this does not help to find a loss.
const MOST = 0.25;

/** The modules below the plot, one lane per depth, and the ops in the last; each in its colour. */
export function paintLanes(context: CanvasRenderingContext2D, scene: Scene): void {
  const { layout } = scene;
  context.save();
  context.beginPath();
  context.rect(layout.left, 0, layout.right - layout.left, layout.height);
  context.clip();
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.font = `10.5px ${scene.inks.font}`;
  layout.lanes.forEach((band, depth) => {
    const lane = depth === layout.lanes.length - 1 ? undefined : scene.lanes[depth];
    if (lane) {
      paintLane(context, scene, lane, band);
    } else {
      paintOps(context, scene, band);
    }
  });
  context.restore();
}

function paintLane(
  context: CanvasRenderingContext2D,
  scene: Scene,
  lane: readonly Run[],
  band: Band,
): void {
  const { inks, layout } = scene;
  const height = band.bottom - band.top;
  // Blocks narrower than a pixel share one: it shows the worst of them.
  let pixel = -1;
  let worst = STEPS + 1;
  for (const run of lane) {
    if (run.to <= scene.window.from || run.from >= scene.window.to) {
      continue;
    }
    const from = Math.max(layout.left, across(scene, run.from));
    const to = Math.min(layout.right, across(scene, run.to));
    const most = run.to - run.from > MOST * scene.network.ops.length;
    const colour = most ? STEPS : step(run.introduced);
    if (to - from < 1.5) {
      const at = Math.floor(from);
      if (at === pixel && colour >= worst) {
        continue;
      }
      pixel = at;
      worst = colour;
      context.fillStyle = inks.steps[colour] as string;
      context.fillRect(at, band.top, 1, height);
      continue;
    }
    context.fillStyle = inks.steps[colour] as string;
    context.fillRect(from, band.top, to - from - (to - from > 4 ? 1 : 0), height);
    if (to - from > LEGIBLE) {
      context.fillStyle = inks.onSteps[colour] as string;
      const text = fit(
        context,
        to - from > 6 * run.path.length + 8 ? run.path : run.label,
        to - from - 8,
      );
      context.fillText(text, from + 4, band.top + height / 2 + 0.5);
    }
  }
}

function paintOps(context: CanvasRenderingContext2D, scene: Scene, band: Band): void {
  const { network, window, layout, inks } = scene;
  const size = across(scene, 1) - across(scene, 0);
  const height = band.bottom - band.top;
  if (size < 1.5) {
    heat(context, scene, band, layout.left, layout.right, window.from, window.to);
    return;
  }
  const end = Math.min(network.ops.length, Math.ceil(window.to));
  for (let index = Math.floor(window.from); index < end; index++) {
    const colour = step(network.introduced[index] as number);
    const from = across(scene, index);
    context.fillStyle = inks.steps[colour] as string;
    context.fillRect(from, band.top, size - (size > 4 ? 1 : 0), height);
    if (size > 34) {
      context.fillStyle = inks.onSteps[colour] as string;
      context.fillText(
        fit(context, network.ops[index]?.name ?? "", size - 8),
        from + 4,
        band.top + height / 2 + 0.5,
      );
    }
  }
}

/** The whole network in a strip, and the part of it that is in view. */
export function paintOverview(context: CanvasRenderingContext2D, scene: Scene): void {
  const { network, window, layout, inks } = scene;
  const { top, bottom } = layout.overview;
  const count = network.ops.length;
  const wide = layout.right - layout.left;
  if (window.to - window.from >= count) {
    return;
  }
  heat(context, scene, { top: top + 2, bottom: bottom - 2 }, layout.left, layout.right, 0, count);
  const from = layout.left + (window.from / count) * wide;
  const to = Math.max(from + 6, layout.left + (window.to / count) * wide);
  context.globalAlpha = 0.6;
  context.fillStyle = inks.ground;
  context.fillRect(layout.left, top, from - layout.left, bottom - top);
  context.fillRect(to, top, layout.right - to, bottom - top);
  context.globalAlpha = 1;
  context.strokeStyle = inks.text;
  context.lineWidth = 1;
  context.beginPath();
  context.roundRect(
    Math.round(from) + 0.5,
    top + 0.5,
    Math.round(to - from) - 1,
    bottom - top - 1,
    2,
  );
  context.stroke();
}

/** A strip of the worst introduced ratio of each pixel. */
function heat(
  context: CanvasRenderingContext2D,
  scene: Scene,
  band: Band,
  left: number,
  right: number,
  from: number,
  to: number,
): void {
  const { network, inks } = scene;
  const width = Math.max(1, Math.floor(right - left));
  const size = width / (to - from);
  if (size >= 1) {
    for (let index = Math.floor(from); index < Math.min(to, network.ops.length); index++) {
      context.fillStyle = inks.steps[step(network.introduced[index] as number)] as string;
      context.fillRect(
        left + (index - from) * size,
        band.top,
        Math.ceil(size),
        band.bottom - band.top,
      );
    }
    return;
  }
  const { low } = columns(network.introduced, { from, to }, width);
  for (let i = 0; i < width; i++) {
    context.fillStyle = inks.steps[step(low[i] as number)] as string;
    context.fillRect(left + i, band.top, 1, band.bottom - band.top);
  }
}

/** The beginning of a text that fits, with an ellipsis if it is not all. */
function fit(context: CanvasRenderingContext2D, text: string, width: number): string {
  const short = text.slice(0, 80);
  if (context.measureText(short).width <= width) {
    return short;
  }
  let end = Math.max(0, Math.floor((short.length * width) / context.measureText(short).width) - 1);
  while (end > 0 && context.measureText(`${short.slice(0, end)}…`).width > width) {
    end--;
  }
  return end > 1 ? `${short.slice(0, end)}…` : "";
}
