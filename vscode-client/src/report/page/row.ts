import { stepOf } from "../model/colours";
import { accumulated, fixed, introduced, sentence, whole } from "../model/format";
import type { Network } from "../model/network";
import { severityOf } from "../model/network";
import type { Column } from "../model/order";
import { el } from "./dom";
import { glyph } from "./glyphs";

/** The height of a row, as ops.css has it. */
export const ROW = 24;

/** One op as a row of the table, at its place among those shown. */
export function rowOf(network: Network, index: number, at: number): HTMLElement {
  const op = network.ops[index];
  if (!op) {
    return el("div");
  }
  const severity = severityOf(network.severity[index] ?? 0);
  const cell = (by: Column, ...children: (Node | string | null)[]): HTMLElement =>
    el("div", `cell ${by}`, { role: "gridcell" }, ...children);
  const number = (by: Column, value: string, swatch?: number): HTMLElement =>
    el(
      "div",
      `cell numeric ${by}`,
      { role: "gridcell" },
      swatch === undefined ? null : el("i", `swatch s${swatch}`),
      value.replace(" dB", ""),
    );
  const row = el(
    "div",
    "row",
    {
      role: "row",
      id: `row-${index}`,
      "aria-rowindex": at + 2,
      "aria-label": sentence(op, index, network.ops.length, network.findings.get(index) ?? []),
      "data-index": index,
      "data-handle": op.handle,
    },
    cell("severity", severity && glyph(severity)),
    number("order", whole(index + 1)),
    cell("op", op.name),
    cell("module", ...path(op.module)),
    number("accumulated", accumulated(op)),
    number("introduced", introduced(op), stepOf([op], network.introduced[index] ?? NaN)),
    number("floor", fixed(network.floor[index] ?? NaN)),
    cell("place", el("code", "line", {}, op.line), ...place(op.place)),
  );
  row.style.top = `${at * ROW}px`;
  return row;
}

// The end of a module's path that is never cut, in characters.
const TAIL = 22;

/** A path is cut before its last parts: those tell ops apart. */
function path(module: string): HTMLElement[] {
  const parts = module.split(".");
  let tail = parts.pop() ?? "";
  for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
    if (part.length + 1 + tail.length > TAIL) {
      parts.push(part);
      break;
    }
    tail = `${part}.${tail}`;
  }
  const head = parts.join(".");
  return tail.length > TAIL
    ? [el("span", "head-part", {}, module)]
    : [el("span", "head-part", {}, head), el("span", "tail", {}, head ? `.${tail}` : tail)];
}

/** A file's name may be cut short, but not the number of the line. */
function place(text: string): HTMLElement[] {
  const colon = text.lastIndexOf(":");
  const name = colon < 0 ? text : text.slice(0, colon);
  return [
    el("span", "faint head-part", {}, name),
    el("span", "faint tail", {}, colon < 0 ? "" : text.slice(colon)),
  ];
}
