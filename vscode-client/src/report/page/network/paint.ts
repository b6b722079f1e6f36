import { fixed } from "../../model/format";
import { columns, crowded } from "../../model/decimate";
import { RANKS, severityOf } from "../../model/network";
import { ticks } from "../../model/scale";
import { paintLanes, paintOverview } from "./lanes";
import { across, upwards } from "./scene";
import type { Scene } from "./scene";

/** Draws all of the plot that does not depend on pointer, selection or caret. */
export function paint(context: CanvasRenderingContext2D, scene: Scene): void {
  const { layout, inks } = scene;
  context.clearRect(0, 0, layout.width, layout.height);
  context.font = `11px ${inks.font}`;
  paintAxis(context, scene);
  context.save();
  context.beginPath();
  context.rect(layout.left, 0, layout.right - layout.left, layout.bottom + 4);
  context.clip();
  paintModules(context, scene);
  if (scene.series.floor) {
    paintFloor(context, scene);
  }
  if (scene.series.introduced) {
    paintIntroduced(context, scene);
  }
  if (scene.series.accumulated) {
    paintAccumulated(context, scene);
    paintFindings(context, scene);
  }
  context.restore();
  paintLanes(context, scene);
  paintOverview(context, scene);
}

function paintAxis(context: CanvasRenderingContext2D, scene: Scene): void {
  const { layout, inks, range } = scene;
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.lineWidth = 1;
  for (const value of ticks(range, layout.bottom - layout.top)) {
    const y = Math.round(upwards(scene, value)) + 0.5;
    context.fillStyle = inks.faint;
    context.fillText(fixed(value).replace(".0", ""), layout.left - 6, y);
    context.fillStyle = inks.grid;
    context.fillRect(layout.left, y - 0.5, layout.right - layout.left, 1);
  }
  const { thresholds } = scene.network.report;
  const bounds = [
    [thresholds.information_db, inks.information],
    [thresholds.warning_db, inks.warning],
    [thresholds.error_db, inks.error],
  ] as const;
  bounds.forEach(([at, ink], i) => {
    if (at <= range.low || at >= range.high) {
      return;
    }
    const y = Math.round(upwards(scene, at)) + 0.5;
    const below = bounds[i + 1]?.[0] ?? range.low;
    if (!inks.contrast && below < at) {
      context.globalAlpha = 0.06;
      context.fillStyle = ink;
      context.fillRect(layout.left, y, layout.right - layout.left, upwards(scene, below) - y);
    }
    context.globalAlpha = inks.contrast ? 1 : 0.65;
    context.strokeStyle = ink;
    context.setLineDash([4, 4]);
    stroke(context, [layout.left, y], [layout.right, y]);
    context.setLineDash([]);
    context.globalAlpha = 1;
  });
}

/** Faint lines at the ends of modules, of the outermost lane that has several. */
function paintModules(context: CanvasRenderingContext2D, scene: Scene): void {
  const { layout, inks } = scene;
  const lane = scene.lanes.find((each) => each.length > 1);
  if (!lane || lane.length > (layout.right - layout.left) / 12) {
    return;
  }
  context.fillStyle = inks.grid;
  for (const run of lane) {
    for (const edge of [run.from, run.to]) {
      const x = Math.round(across(scene, edge));
      if (x > layout.left && x < layout.right) {
        context.fillRect(x, layout.top, 1, layout.bottom - layout.top);
      }
    }
  }
}

function paintFloor(context: CanvasRenderingContext2D, scene: Scene): void {
  const { network, window, layout, inks } = scene;
  const width = Math.ceil(layout.right - layout.left);
  context.fillStyle = inks.floor;
  if (crowded(window, width)) {
    const { low } = columns(network.floor, window, width);
    context.globalAlpha = 0.4;
    for (let i = 0; i < width; i++) {
      if (low[i] === low[i]) {
        context.fillRect(layout.left + i, Math.round(upwards(scene, low[i] as number)), 1, 1);
      }
    }
  } else {
    context.globalAlpha = 0.55;
    const size = Math.max(2, Math.min(12, across(scene, 0.7) - across(scene, 0)));
    each(scene, (index) => {
      const value = network.floor[index] as number;
      if (value === value) {
        const x = across(scene, index + 0.5) - size / 2;
        context.fillRect(x, Math.round(upwards(scene, value)), size, 1.5);
      }
    });
  }
  context.globalAlpha = 1;
}

function paintIntroduced(context: CanvasRenderingContext2D, scene: Scene): void {
  const { network, window, layout, inks } = scene;
  const width = Math.ceil(layout.right - layout.left);
  context.fillStyle = inks.introduced;
  if (crowded(window, width)) {
    const { low, high } = columns(network.introduced, window, width);
    context.globalAlpha = 0.16;
    for (let i = 0; i < width; i++) {
      const top = upwards(scene, high[i] as number);
      context.fillRect(layout.left + i, top, 1, upwards(scene, low[i] as number) - top);
    }
    context.globalAlpha = 0.9;
    for (let i = 0; i < width; i++) {
      context.fillRect(layout.left + i - 0.5, upwards(scene, low[i] as number) - 1, 2, 2);
    }
  } else {
    const radius = Math.max(1.3, Math.min(3, (across(scene, 1) - across(scene, 0)) / 3));
    context.globalAlpha = 0.9;
    context.beginPath();
    each(scene, (index) => {
      const value = network.introduced[index] as number;
      if (value === value) {
        const x = across(scene, index + 0.5);
        const y = upwards(scene, value);
        context.moveTo(x + radius, y);
        context.arc(x, y, radius, 0, 2 * Math.PI);
      }
    });
    context.fill();
  }
  context.globalAlpha = 1;
}

function paintAccumulated(context: CanvasRenderingContext2D, scene: Scene): void {
  const { network, window, layout, inks } = scene;
  const width = Math.ceil(layout.right - layout.left);
  if (crowded(window, width)) {
    paintCrowd(context, scene, width);
    return;
  }
  context.strokeStyle = inks.accumulated;
  context.lineWidth = 1.6;
  context.lineJoin = "round";
  context.beginPath();
  let down = false;
  each(scene, (index) => {
    const value = network.accumulated[index] as number;
    if (value === value) {
      const x = across(scene, index + 0.5);
      const y = upwards(scene, value);
      if (down) {
        context.lineTo(x, y);
      } else {
        context.moveTo(x, y);
      }
    }
    down = value === value;
  });
  context.stroke();
}

/** The same line where each pixel has many ops: upright bars that touch, much faster than a path. */
function paintCrowd(context: CanvasRenderingContext2D, scene: Scene, width: number): void {
  const { layout, inks, network, window } = scene;
  const { low, high, first, last } = columns(network.accumulated, window, width);
  context.fillStyle = inks.accumulated;
  let before = NaN;
  for (let i = 0; i < width; i++) {
    const start = first[i] as number;
    if (start === start) {
      // Reaches half of the way to the column before, as a line would.
      const from = before === before ? (before + start) / 2 : start;
      const top = upwards(scene, Math.max(high[i] as number, from));
      const bottom = upwards(scene, Math.min(low[i] as number, from));
      context.fillRect(layout.left + i, top - 0.7, 1.3, bottom - top + 1.4);
    }
    before = last[i] as number;
  }
}

function paintFindings(context: CanvasRenderingContext2D, scene: Scene): void {
  const { network, inks } = scene;
  context.lineWidth = 1.5;
  context.strokeStyle = inks.ground;
  // The gravest are drawn last, on top. Of those that would cover each other, one is drawn.
  for (const rank of [RANKS.information, RANKS.warning, RANKS.error]) {
    const severity = severityOf(rank) as "information" | "warning" | "error";
    context.fillStyle = inks[severity];
    let last = -Infinity;
    for (const index of network.found) {
      const x = across(scene, index + 0.5);
      if (network.severity[index] !== rank || x - last < 3) {
        continue;
      }
      if (x < scene.layout.left - 8 || x > scene.layout.right + 8) {
        continue;
      }
      last = x;
      const value = network.accumulated[index] as number;
      marker(context, severity, x, upwards(scene, value === value ? value : scene.range.low));
    }
  }
}

function marker(context: CanvasRenderingContext2D, severity: string, x: number, y: number): void {
  context.beginPath();
  if (severity === "error") {
    context.moveTo(x, y - 7);
    context.lineTo(x + 7, y);
    context.lineTo(x, y + 7);
    context.lineTo(x - 7, y);
    context.closePath();
  } else if (severity === "warning") {
    context.moveTo(x, y - 7);
    context.lineTo(x + 6.5, y + 4.5);
    context.lineTo(x - 6.5, y + 4.5);
    context.closePath();
  } else {
    context.arc(x, y, 4.5, 0, 2 * Math.PI);
  }
  context.fill();
  context.stroke();
}

/** Every op in view, and one to each side so that lines leave the plot. */
function each(scene: Scene, act: (index: number) => void): void {
  const { window, network } = scene;
  const end = Math.min(network.ops.length, Math.ceil(window.to) + 1);
  for (let index = Math.max(0, Math.floor(window.from) - 1); index < end; index++) {
    act(index);
  }
}

function stroke(
  context: CanvasRenderingContext2D,
  from: readonly [number, number],
  to: readonly [number, number],
): void {
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}
