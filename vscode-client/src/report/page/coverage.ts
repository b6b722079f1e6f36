import type { Coverage } from "../data";
import type { Reason } from "../model/coverage";
import { reasons } from "../model/coverage";
import { count, seconds, whole } from "../model/format";
import { el } from "./dom";
import { placeLink } from "./place";
import type { Send } from "./select";
import type { Store } from "./store";

// More ops would not make a reason any clearer.
const SHOWN = 200;

/** The ops that were compared, those that were not and why, and the time by stage. */
export class CoveragePanel {
  readonly element = el("section");

  constructor(
    private readonly store: Store,
    private readonly send: Send,
  ) {
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
        ...(report.coverage ? coverage(report.coverage, this.send) : []),
        ...timings(report.timings),
      ),
    );
  }
}

function coverage(coverage: Coverage, send: Send): HTMLElement[] {
  const { ops, matched, quantized, unmatched, in_float } = coverage;
  const float = Math.max(0, matched - quantized);
  return [
    el("h3", "", {}, "Coverage"),
    bar("Ops by whether they were compared", [
      ["t1", quantized, `${whole(quantized)} compared and quantized`],
      ["t2", float, `${whole(float)} compared, in float`],
      ["rest", Math.max(0, ops - matched), `${whole(ops - matched)} not compared`],
    ]),
    ...(in_float.length > 0
      ? [
          el("h3", "", {}, "Left in float, though of a kind that the recipe quantizes"),
          ...reasons(in_float).map((each) => reasonOf(each, send, true)),
        ]
      : []),
    el("h3", "", {}, "Not compared"),
    ...reasons(unmatched).map((each) => reasonOf(each, send, false)),
    ...(unmatched.length === 0
      ? [el("p", "faint", {}, `All ${count(ops, "op")} were compared.`)]
      : []),
  ];
}

/** One reason. Its ops are listed once it is opened, for there may be thousands. */
function reasonOf({ reason, ops }: Reason, send: Send, open: boolean): HTMLElement {
  const details = el(
    "details",
    "reason",
    { open },
    el("summary", "", {}, el("b", "", {}, whole(ops.length)), " ", reason),
  );
  details.addEventListener(
    "toggle",
    () => {
      const head = ["op", "module or node", "source"].map((text) =>
        el("th", "", { scope: "col" }, text),
      );
      const rows = ops
        .slice(0, SHOWN)
        .map(({ op, module, handle, place }) =>
          el(
            "tr",
            "",
            {},
            el("td", "", {}, el("code", "", {}, op)),
            el("td", "", {}, el("code", "", {}, module)),
            el("td", "", {}, placeLink(send, handle, place)),
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
