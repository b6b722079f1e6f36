import { across, upwards } from "./scene";
import type { Scene } from "./scene";

/** Draws pointer, selection and caret on a canvas above the plot, so that the plot need not be drawn again. */
export interface Marks {
  readonly hovered: number;
  readonly selected: number;
  readonly caret: readonly number[];
}

export function paintOverlay(context: CanvasRenderingContext2D, scene: Scene, marks: Marks): void {
  const { layout, inks, network } = scene;
  context.clearRect(0, 0, layout.width, layout.height);
  context.save();
  context.beginPath();
  context.rect(layout.left - 6, 0, layout.right - layout.left + 12, layout.height);
  context.clip();
  const x = (index: number): number => across(scene, index + 0.5);
  if (marks.hovered >= 0 && marks.hovered < network.ops.length) {
    context.fillStyle = inks.faint;
    context.globalAlpha = 0.5;
    context.fillRect(Math.round(x(marks.hovered)), layout.top, 1, layout.bottom - layout.top);
    context.globalAlpha = 1;
    rings(context, scene, marks.hovered, 5, inks.text, 1);
  }
  context.fillStyle = inks.caret;
  for (const index of marks.caret) {
    const at = x(index);
    context.globalAlpha = 0.35;
    context.fillRect(Math.round(at), layout.top, 1, layout.bottom - layout.top);
    context.globalAlpha = 1;
    context.beginPath();
    context.moveTo(at - 4.5, layout.top - 9);
    context.lineTo(at + 4.5, layout.top - 9);
    context.lineTo(at, layout.top - 2);
    context.fill();
  }
  if (marks.selected >= 0 && marks.selected < network.ops.length) {
    const at = x(marks.selected);
    context.fillStyle = inks.focus;
    context.fillRect(Math.round(at) - 0.5, layout.top, 1.5, layout.bottom - layout.top);
    rings(context, scene, marks.selected, 6.5, inks.focus, 2);
    const ops = layout.lanes.at(-1);
    if (ops) {
      const size = Math.max(4, across(scene, 1) - across(scene, 0));
      context.strokeStyle = inks.text;
      context.lineWidth = 1.5;
      context.strokeRect(at - size / 2 - 0.5, ops.top - 0.5, size, ops.bottom - ops.top + 1);
    }
  }
  context.restore();
}

function rings(
  context: CanvasRenderingContext2D,
  scene: Scene,
  index: number,
  radius: number,
  ink: string,
  width: number,
): void {
  const { network, series } = scene;
  context.strokeStyle = ink;
  context.lineWidth = width;
  for (const [values, shown] of [
    [network.accumulated, series.accumulated],
    [network.introduced, series.introduced],
  ] as const) {
    const value = values[index] as number;
    if (shown && value === value) {
      context.beginPath();
      context.arc(across(scene, index + 0.5), upwards(scene, value), radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}
