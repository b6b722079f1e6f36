import type { Coverage } from "../data";
import type { Reason } from "../model/coverage";
import { reasons } from "../model/coverage";
import { count, seconds, whole } from "../model/format";
import { el } from "./dom";
import type { Store } from "./store";

// A reason that holds for thousands of ops is understood from fewer.
const SHOWN = 200;

/** What was compared, what was not and why, and where the time went. */
export class CoveragePanel {
  readonly element = el("section");

  constructor(private readonly store: Store) {
    store.on(["network"], () => this.render());
  }

  private render(): void {
    const report = this.store.get().network?.report;
    if (!report) {
      return;
    }
    this.element.replaceChildren(
      el(
        "div",
        "scroller padded",
        { tabindex: 0, role: "group", "aria-label": "Coverage and time" },
        ...(report.coverage ? coverage(report.coverage) : []),
        ...timings(report.timings),
      ),
    );
  }
}

function coverage(coverage: Coverage): HTMLElement[] {
  const { ops, matched, quantized, unmatched } = coverage;
  const float = Math.max(0, matched - quantized);
  return [
    el("h3", "", {}, "Coverage"),
    bar("Ops by whether they were compared", [
      ["t1", quantized, `${whole(quantized)} compared and quantized`],
      ["t2", float, `${whole(float)} compared, in float`],
      ["rest", Math.max(0, ops - matched), `${whole(ops - matched)} not compared`],
    ]),
    ...reasons(unmatched).map(reasonOf),
    ...(unmatched.length === 0
      ? [el("p", "faint", {}, `All ${count(ops, "op")} were compared.`)]
      : []),
  ];
}

/** One reason; its ops are listed when somebody looks: there may be thousands. */
function reasonOf({ reason, ops }: Reason): HTMLElement {
  const details = el(
    "details",
    "reason",
    {},
    el("summary", "", {}, el("b", "", {}, whole(ops.length)), " ", reason),
  );
  details.addEventListener(
    "toggle",
    () => {
      const head = ["op", "module or node"].map((text) => el("th", "", { scope: "col" }, text));
      const rows = ops
        .slice(0, SHOWN)
        .map(({ op, module }) =>
          el(
            "tr",
            "",
            {},
            el("td", "", {}, el("code", "", {}, op)),
            el("td", "", {}, el("code", "", {}, module)),
          ),
        );
      details.append(
        el(
          "table",
          "",
          {},
          el("thead", "", {}, el("tr", "", {}, ...head)),
          el("tbody", "", {}, ...rows),
        ),
      );
      if (ops.length > SHOWN) {
        details.append(el("p", "faint", {}, `and ${whole(ops.length - SHOWN)} more`));
      }
    },
    { once: true },
  );
  return details;
}

function timings(timings: Readonly<Record<string, number>>): HTMLElement[] {
  const stages = Object.entries(timings);
  if (stages.length === 0) {
    return [];
  }
  return [
    el("h3", "", {}, "Time"),
    bar(
      "Time by stage",
      stages.map(([stage, value], i) => [`t${i % 4}`, value, `${stage} ${seconds(value)}`]),
    ),
  ];
}

/** Parts of a whole: a bar, and what each part is. */
function bar(label: string, parts: readonly (readonly [string, number, string])[]): HTMLElement {
  const shown = parts.filter(([, size]) => size > 0);
  return el(
    "div",
    "parts",
    { role: "group", "aria-label": label },
    el(
      "div",
      "parts-bar",
      { "aria-hidden": "true" },
      ...shown.map(([kind, size, text]) => {
        const part = el("i", kind, { title: text });
        part.style.flexGrow = String(size);
        return part;
      }),
    ),
    el(
      "ul",
      "parts-key",
      {},
      ...shown.map(([kind, , text]) => el("li", "", {}, el("i", `swatch ${kind}`), text)),
    ),
  );
}
