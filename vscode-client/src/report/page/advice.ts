import type { AdviceData } from "../data";
import type { Curve, Point } from "../model/advice";
import { axis, curve, gain, more, share } from "../model/advice";
import { count, seconds, whole } from "../model/format";
import { pixelOf } from "../model/scale";
import { button, el, framed, svg } from "./dom";
import { placeLink } from "./place";
import type { Send } from "./select";
import type { Store } from "./store";

/** The height of the head, and of the space around it. */
const HEAD = 84;
const LEAST_HEIGHT = 140;
const MOST_HEIGHT = 200;
const MARGIN = { left: 46, right: 64, top: 22, bottom: 34 };
const LEAST_WIDTH = 260;

/** What was measured to help: the curve of changes against the output, its steps, and a way to make them. */
export class AdvicePanel {
  readonly element = el("section");
  private readonly scroller = el("div", "scroller padded advice", {
    tabindex: 0,
    role: "group",
    "aria-label": "What helps",
  });
  private readonly plot = el("figure", "curve");
  private readonly footer = el("footer", "advice-offer bar", { hidden: true });
  /** How many steps are looked at; null for those that are recommended. */
  private chosen: number | null = null;
  private readonly render = framed(() => this.renderAll());

  constructor(
    private readonly store: Store,
    private readonly send: Send,
  ) {
    this.element.append(this.scroller, this.footer);
    store.on(["advice", "view", "network"], this.render);
    store.on(["network"], () => (this.chosen = null));
    new ResizeObserver(this.render).observe(this.scroller);
  }

  private renderAll(): void {
    const { advice } = this.store.get();
    this.footer.hidden = !advice?.steps.length;
    if (!advice) {
      this.scroller.replaceChildren(this.nothing());
      return;
    }
    const focused = document.activeElement?.getAttribute("data-steps");
    const steps = Math.min(this.chosen ?? advice.recommended, advice.steps.length);
    const shown = curve(advice);
    const parts = [this.head(advice)];
    if (advice.steps.length > 0) {
      this.plot.replaceChildren(this.draw(advice, shown, steps));
      parts.push(el("div", "advice-body", {}, this.plot, this.table(advice, shown, steps)));
      this.footer.replaceChildren(...this.offer(advice, steps));
    }
    this.scroller.replaceChildren(...parts);
    if (focused) {
      this.scroller.querySelector<HTMLElement>(`[data-steps="${focused}"]`)?.focus();
    }
  }

  private nothing(): HTMLElement {
    const status = this.store.get().view?.status;
    const found = status?.advice?.state;
    const text =
      found === "searching"
        ? "Measuring what helps …"
        : found === "waiting"
          ? "The search begins when nothing is compared."
          : "Nothing was searched for. A search measures the output with some ops kept in float, and finds those that win the most.";
    return el(
      "div",
      "advice-empty",
      {},
      el("p", "hint-text", {}, text),
      this.command(found === "searching" || found === "waiting"),
    );
  }

  /** What was found in a sentence, how, and a button. */
  private head(advice: AdviceData): HTMLElement {
    const found = this.store.get().view?.status?.advice;
    const going = found !== undefined && found !== null && found.state !== "done";
    const said = going
      ? found.best
        ? `Searching … ${found.best} so far`
        : "Searching for what helps …"
      : sentence(advice.text);
    const how = `${count(advice.measurements, "measurement")} of ${count(advice.units, "unit")} in ${seconds(advice.seconds)}`;
    return el(
      "header",
      "advice-head",
      {},
      el("h3", going ? "going" : "", { role: "status" }, said),
      el("span", "faint", {}, how, advice.complete || going ? "" : ", ended by its budget"),
      going || !advice.complete ? this.command(going) : null,
    );
  }

  private command(going: boolean): HTMLElement {
    return button(
      "toggle",
      {},
      () => this.send({ type: "command", command: going ? "cancel" : "advise" }),
      going ? "Cancel the search" : "Find what helps",
    );
  }

  private choose(steps: number): void {
    this.chosen = steps;
    this.renderAll();
  }

  private draw(advice: AdviceData, shown: Curve, chosen: number): SVGElement {
    const width = Math.max(LEAST_WIDTH, this.plot.clientWidth || 520);
    const room = this.scroller.clientHeight - HEAD;
    const height = Math.min(Math.max(room, LEAST_HEIGHT), MOST_HEIGHT);
    const { left, right, top, bottom } = MARGIN;
    const across = (width - left - right) / (shown.points.length - 1);
    const x = (steps: number): number => left + steps * across;
    // An exact output has no ratio: it is above the axis.
    const y = ({ value, output }: Point): number =>
      output.exact ? top - 8 : pixelOf(value, shown.range, top, height - bottom);
    const drawn = shown.points.filter(({ value, output }) => output.exact || !Number.isNaN(value));
    const path = drawn
      .map((each, i) => `${i === 0 ? "M" : "L"}${x(each.steps)} ${y(each)}`)
      .join("");
    const first = drawn[0];
    const last = drawn.at(-1);
    const area =
      first && last
        ? `${path}L${x(last.steps)} ${height - bottom}L${x(first.steps)} ${height - bottom}Z`
        : "";
    return svg(
      "svg",
      { width, height, role: "group", "aria-label": "Output by how many changes are made" },
      ...axis(shown, height - top - bottom).flatMap((value) => {
        const at = pixelOf(value, shown.range, top, height - bottom);
        return [
          svg("line", { class: "grid-line", x1: left, x2: width - right, y1: at, y2: at }),
          svg(
            "text",
            { class: "tick", x: left - 8, y: at + 4, "text-anchor": "end" },
            shown.label(value),
          ),
        ];
      }),
      svg("text", { class: "tick", x: left - 8, y: 10, "text-anchor": "end" }, shown.unit),
      ...shown.points.map(({ steps }) =>
        svg(
          "text",
          { class: "tick", x: x(steps), y: height - bottom + 16, "text-anchor": "middle" },
          whole(steps),
        ),
      ),
      svg(
        "text",
        { class: "tick", x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" },
        "changes made",
      ),
      advice.recommended > 0
        ? svg("line", {
            class: "recommended",
            x1: x(advice.recommended),
            x2: x(advice.recommended),
            y1: top - 8,
            y2: height - bottom,
          })
        : null,
      svg("path", { class: "area", d: area }),
      svg("path", { class: "trace", d: path }),
      ...drawn.map((each) => this.point(advice, each, x(each.steps), y(each), chosen)),
    );
  }

  private point(advice: AdviceData, each: Point, x: number, y: number, chosen: number): SVGElement {
    const { steps, output } = each;
    const step = advice.steps[steps - 1];
    const title = step ? `${step.title}: ${output.text}` : `Without any change: ${output.text}`;
    const isChosen = steps === chosen;
    // The curve rises from the first point, and may be at the top of the plot.
    const beside = steps === 0 ? y + 5 : y > 40 ? y - 9 : y + 18;
    const point = svg(
      "g",
      {
        class: `point${isChosen ? " chosen" : ""}${step && !step.verified ? " predicted" : ""}`,
        role: "button",
        tabindex: 0,
        "aria-label": title,
        "aria-pressed": String(isChosen),
        "data-steps": steps,
      },
      svg("title", {}, title),
      svg("circle", { class: "target", cx: x, cy: y, r: 14 }),
      svg("circle", { cx: x, cy: y, r: isChosen ? 6 : 4.5 }),
      isChosen || steps === 0
        ? svg("text", { class: "value", x: x + 10, y: beside }, output.text)
        : null,
    );
    point.addEventListener("click", () => this.choose(steps));
    point.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.choose(steps);
      }
    });
    return point;
  }

  private table(advice: AdviceData, shown: Curve, chosen: number): HTMLElement {
    const heads = [
      ["#", "numeric", "How many changes are made"],
      ["change", "", "What is changed, beside what the rows above change"],
      ["output", "numeric", "The output with this change and those above"],
      ["more", "numeric", "How much the output gets better by it"],
      ["multiply-adds", "numeric", "The share that leaves the recipe's number format"],
      ["weights", "numeric", "The share of the weights' bytes that leaves it"],
    ] as const;
    const places = new Map(
      this.store.get().network?.ops.map((op) => [op.handle, op.place] as const) ?? [],
    );
    const rows = advice.steps.map((step, i) => {
      const steps = i + 1;
      const row = el(
        "tr",
        `${steps === chosen ? "chosen" : ""} ${steps <= chosen ? "made" : ""}`,
        { "aria-current": steps === chosen ? "true" : null },
        el("td", "numeric", {}, whole(steps)),
        el(
          "td",
          "",
          {},
          button("link", { "data-row": steps }, () => this.choose(steps), step.name),
          el("span", "faint", {}, KINDS[step.kind] ?? step.kind),
          placeLink(this.send, step.handle, places.get(step.handle ?? NaN) ?? ""),
        ),
        el(
          "td",
          "numeric",
          { title: step.verified ? "From a real run" : "From a switch in the running model" },
          step.output.text,
        ),
        el("td", "numeric faint", {}, more(shown, steps)),
        el("td", "numeric", {}, share(step.cost.multiply_adds)),
        el("td", "numeric", {}, share(step.cost.weight_bytes)),
      );
      row.addEventListener("click", (event) => {
        if (!(event.target instanceof Element && event.target.closest("button"))) {
          this.choose(steps);
        }
      });
      return row;
    });
    const head = heads.map(([name, kind, title]) => el("th", kind, { scope: "col", title }, name));
    return el(
      "table",
      "advice-steps",
      { "aria-label": "Steps" },
      el("thead", "", {}, el("tr", "", {}, ...head)),
      el("tbody", "", {}, ...rows),
    );
  }

  /** The set that is chosen, what it wins, and a button that makes it. */
  private offer(advice: AdviceData, steps: number): HTMLElement[] {
    const step = advice.steps[steps - 1];
    const text = step ? step.title : "Choose a point of the curve to see what it takes";
    const why = advice.stale ? "Measured before the last edits: run the comparison again." : "";
    return [
      el("b", "", {}, text),
      el("span", "", {}, step ? gain(advice, step.output) : ""),
      el("span", "faint", {}, why),
      button(
        "primary",
        { disabled: !step || advice.stale },
        () => this.send({ type: "apply", steps }),
        "Apply",
      ),
    ];
  }
}

const KINDS: Readonly<Record<string, string>> = {
  "keep-float": "in float",
  "weight-per-channel": "weight per channel",
  "activation-16-bit": "output in 16 bits",
  "observer-min-max": "range by minimum and maximum",
  "observer-histogram": "range by a histogram",
  "weight-finer-group": "weight in finer groups",
  "weight-8-bit": "weight in 8 bits",
};

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
