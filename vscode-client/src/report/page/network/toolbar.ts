import { button, el, svg } from "../dom";
import { icon, ICONS } from "../glyphs";
import type { Store } from "../store";
import { showAll, zoomBy, ZOOM } from "./keys";
import type { Series } from "./scene";

const KEYS: readonly {
  name: keyof Series;
  label: string;
  title: string;
  shape: () => SVGElement;
}[] = [
  {
    name: "accumulated",
    label: "accumulated",
    title: "The quantized model as it runs",
    shape: () => svg("path", { d: "M1 7 6 4 11 6 17 2" }),
  },
  {
    name: "introduced",
    label: "introduced",
    title: "Each op by itself, from reference inputs",
    shape: () => svg("circle", { cx: 9, cy: 5, r: 3 }),
  },
  {
    name: "floor",
    label: "rounding alone",
    title: "What rounding alone would introduce",
    shape: () => svg("path", { d: "M3 5H15" }),
  },
];

/** The head of the plot: a legend whose series can be switched off, and zoom. */
export function toolbar(
  store: Store,
  shown: Series,
  changed: (series: Series) => void,
): HTMLElement {
  let series = shown;
  const keys = KEYS.map(({ name, label, title, shape }) => {
    const each = button(
      `legend legend-${name}`,
      { "aria-pressed": "true", title },
      () => {
        series = { ...series, [name]: !series[name] };
        each.setAttribute("aria-pressed", String(series[name]));
        changed(series);
      },
      svg("svg", { viewBox: "0 0 18 10", "aria-hidden": "true" }, shape()),
      label,
    );
    return each;
  });
  const tool = (label: string, key: string, path: string, act: () => void): HTMLElement =>
    button("tool", { "aria-label": label, title: `${label} (${key})` }, act, icon(path));
  return el(
    "header",
    "bar",
    {},
    el("h2", "", { id: "network-title" }, "SQNR along the network"),
    el("span", "faint unit", {}, "dB"),
    el("div", "legends", { role: "group", "aria-label": "Series" }, ...keys),
    el(
      "div",
      "tools",
      { role: "group", "aria-label": "Zoom" },
      tool("Zoom in", "+", ICONS.plus, () => zoomBy(store, 1 / ZOOM)),
      tool("Zoom out", "−", ICONS.minus, () => zoomBy(store, ZOOM)),
      tool("Show all", "0", ICONS.fit, () => showAll(store)),
    ),
  );
}
