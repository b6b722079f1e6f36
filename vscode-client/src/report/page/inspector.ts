import type { Histogram, OpData } from "../data";
import { accumulated, introduced, ratio, short, whole } from "../model/format";
import type { Network } from "../model/network";
import { severityOf } from "../model/network";
import { button, el, svg } from "./dom";
import { glyph } from "./glyphs";
import { placeLink } from "./place";
import { select } from "./select";
import type { Send } from "./select";
import type { Store } from "./store";

// If a line runs more often, its worst ops are shown.
const INSTANCES = 40;

/** All about the selected op: first from the report, then with the details that the server answers. */
export class Inspector {
  readonly element = el("section", "inspector", { "aria-label": "Selected op", tabindex: 0 });

  constructor(
    private readonly store: Store,
    private readonly send: Send,
  ) {
    store.on(["selected", "network", "detail"], () => this.render());
  }

  private render(): void {
    const { network, selected, detail } = this.store.get();
    const op = network?.ops[selected];
    if (!network || !op) {
      this.element.replaceChildren(
        el(
          "p",
          "hint-text",
          {},
          "Select an op in the plot to see its numbers. Arrow keys move along the network, Page Up and Page Down from finding to finding, Enter opens the source.",
        ),
      );
      return;
    }
    const known = detail?.handle === op.handle ? detail : null;
    this.element.replaceChildren(
      this.head(network, op, selected),
      ...(op.line ? [el("pre", "line", {}, el("code", "", {}, op.line))] : []),
      ...findings(network, selected, known?.cause ?? null),
      this.ratios(network, op, selected),
      ...(op.in_float ? [el("p", "in-float", {}, op.in_float)] : []),
      ...(known?.errors ? [histogram(known.errors)] : []),
      known ? rows(known.rows) : el("p", "hint-text", { "aria-hidden": "true" }, "…"),
      // Not for ops that a held key passes: their details never arrive.
      ...(known ? this.instances(network, op, selected) : []),
    );
  }

  private head(network: Network, op: OpData, index: number): HTMLElement {
    const severity = severityOf(network.severity[index] ?? 0);
    return el(
      "header",
      "op-head",
      {},
      severity && glyph(severity),
      el("h2", "", {}, op.name),
      op.module ? el("code", "module", {}, op.module) : null,
      el("span", "faint", {}, `op ${whole(index + 1)} of ${whole(network.ops.length)}`),
      placeLink(this.send, op.handle, op.place),
    );
  }

  private ratios(network: Network, op: OpData, index: number): HTMLElement {
    const floor = network.floor[index] ?? NaN;
    const each = (name: string, value: string, kind: string): HTMLElement =>
      el("div", kind, {}, el("dt", "", {}, name), el("dd", "", {}, value));
    return el(
      "dl",
      "ratios",
      {},
      each("accumulated", accumulated(op), "key-accumulated"),
      each("introduced", introduced(op), "key-introduced"),
      Number.isNaN(floor) ? null : each("rounding alone", ratio("ok", floor), "key-floor"),
    );
  }

  /** The other ops that the same place in the source runs: a loop runs one line many times. */
  private instances(network: Network, op: OpData, index: number): HTMLElement[] {
    if (!op.place) {
      return [];
    }
    const same: number[] = [];
    network.ops.forEach((each, i) => {
      if (each.place === op.place && each.name === op.name && each.line === op.line) {
        same.push(i);
      }
    });
    if (same.length < 2) {
      return [];
    }
    const shown = same.length > INSTANCES ? worst(network, same) : same;
    const list = shown.map((i) => {
      const each = network.ops[i] as OpData;
      return el(
        "li",
        i === index ? "current" : "",
        { "aria-current": i === index ? "true" : null },
        button("link", {}, () => select(this.store, this.send, i), each.module || each.name),
        el("span", "", {}, accumulated(each)),
      );
    });
    const more = same.length - list.length;
    return [
      el("h3", "", {}, `This line runs ${whole(same.length)} times`),
      el("ul", "instances", {}, ...list),
      ...(more > 0 ? [el("p", "faint", {}, `and ${whole(more)} more that lose less`)] : []),
    ];
  }
}

function worst(network: Network, ops: readonly number[]): number[] {
  const value = (ratio = NaN): number => (Number.isNaN(ratio) ? Infinity : ratio);
  const ratio = (index: number): number => value(network.accumulated[index]);
  return [...ops].sort((a, b) => ratio(a) - ratio(b)).slice(0, INSTANCES);
}

function findings(network: Network, index: number, cause: readonly string[] | null): HTMLElement[] {
  return (network.findings.get(index) ?? []).map((finding, i) => {
    const lines = i === 0 && cause ? cause : finding.cause.split("\n");
    return el(
      "div",
      `finding ${finding.severity}`,
      {},
      el("p", "message", {}, el("b", "", {}, finding.rule), " ", finding.message),
      ...lines.filter(Boolean).map((line) => el("p", "cause", {}, line)),
    );
  });
}

function rows(all: readonly (readonly [string, string])[]): HTMLElement {
  return el(
    "dl",
    "rows-of-op",
    {},
    ...all.map(([name, value]) =>
      el("div", "", {}, el("dt", "", {}, name), el("dd", "", {}, value)),
    ),
  );
}

const WIDTH = 240;
const HEIGHT = 64;

function histogram(errors: Histogram): HTMLElement {
  const top = Math.max(...errors.counts, 1);
  const total = errors.counts.reduce((sum, each) => sum + each, 0);
  const width = WIDTH / errors.counts.length;
  const size = (errors.high - errors.low) / errors.counts.length;
  const bars = errors.counts.map((number, i) => {
    // The square root makes the tails visible, which show saturation and outliers.
    const height = (HEIGHT - 2) * Math.sqrt(number / top);
    const from = errors.low + i * size;
    return svg(
      "rect",
      { class: "bin", x: i * width, y: HEIGHT - height, width: width * 0.92, height },
      svg("title", {}, `${short(from)} to ${short(from + size)}: ${whole(number)}`),
    );
  });
  const zero = ((0 - errors.low) / (errors.high - errors.low)) * WIDTH;
  const peak = errors.counts.indexOf(Math.max(...errors.counts));
  const said =
    `Histogram of ${whole(total)} errors from ${short(errors.low)} to ${short(errors.high)}, ` +
    `most of them from ${short(errors.low + peak * size)} to ${short(errors.low + (peak + 1) * size)}`;
  return el(
    "figure",
    "histogram",
    {},
    svg(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": said,
      },
      ...bars,
      zero >= 0 && zero <= WIDTH
        ? svg("line", { class: "zero", x1: zero, x2: zero, y1: 0, y2: HEIGHT })
        : null,
    ),
    el(
      "figcaption",
      "faint",
      { "aria-hidden": "true" },
      el("span", "", {}, short(errors.low)),
      el("span", "", {}, "actual − reference, √ counts"),
      el("span", "", {}, short(errors.high)),
    ),
  );
}
