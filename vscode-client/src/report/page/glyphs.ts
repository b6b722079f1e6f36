import type { Severity } from "../data";
import { svg } from "./dom";

/** Severities differ by shape as well as by colour. */
const SHAPES: Readonly<Record<Severity, string>> = {
  error: "M8 1.5 14.5 8 8 14.5 1.5 8Z",
  warning: "M8 2 14.6 13.6H1.4Z",
  information: "M8 2.2A5.8 5.8 0 1 1 8 13.8 5.8 5.8 0 1 1 8 2.2Z",
  hint: "M8 4.6A3.4 3.4 0 1 1 8 11.4 3.4 3.4 0 1 1 8 4.6Z",
};

/** The sign of a severity; it has a name for screen readers unless the name stands beside it. */
export function glyph(severity: Severity, named = true): SVGSVGElement {
  return svg(
    "svg",
    {
      class: `glyph ${severity}`,
      viewBox: "0 0 16 16",
      ...(named ? { role: "img", "aria-label": severity } : { "aria-hidden": "true" }),
    },
    svg("path", { d: SHAPES[severity] }),
  );
}

/** An icon drawn with one stroke. */
export function icon(path: string): SVGSVGElement {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" },
    svg("path", { d: path }),
  );
}

export const ICONS = {
  rerun: "M13.5 8A5.5 5.5 0 1 1 11.6 3.8M13.5 1.5V4.5H10.5",
  stop: "M4 4H12V12H4Z",
  plus: "M8 3V13M3 8H13",
  minus: "M3 8H13",
  fit: "M2 5V2H5M11 2H14V5M14 11V14H11M5 14H2V11",
  source: "M6 4 2 8 6 12M10 4 14 8 10 12",
  search: "M7 2.5A4.5 4.5 0 1 1 7 11.5 4.5 4.5 0 1 1 7 2.5ZM10.3 10.3 14 14",
} as const;
