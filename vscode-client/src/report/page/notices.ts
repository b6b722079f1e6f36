import type { FindingData, ReportData } from "../data";
import type { Command } from "../messages";
import { count, db } from "../model/format";
import type { Network } from "../model/network";
import { RANKS } from "../model/network";
import { button, el, svg } from "./dom";
import { glyph } from "./glyphs";
import { placeLink } from "./place";
import type { Send } from "./select";
import type { State, Store } from "./store";

interface Notice {
  readonly kind: "empty" | "busy" | "error";
  readonly title: string;
  readonly text: string;
  readonly actions: readonly (readonly [Command, string])[];
}

// More notices would leave no room for the plots.
const REMARKS = 6;

/** Notices above the plots that a reader must know, and a text in their place if there are none. */
export class Notices {
  readonly element = el("div", "notices", { role: "status" });
  private said = "";

  constructor(
    private readonly store: Store,
    private readonly send: Send,
  ) {
    store.on(["view", "network"], () => this.render());
  }

  private render(): void {
    const state = this.store.get();
    const notice = noticeOf(state);
    const whole = (state.network?.ops.length ?? 0) === 0;
    document.body.classList.toggle("without-result", whole);
    const { network } = state;
    const report = network?.report;
    const said = JSON.stringify([notice, whole, report?.verified, network?.remarks]);
    if (said === this.said) {
      return;
    }
    this.said = said;
    this.element.replaceChildren(
      ...(notice ? [this.show(notice, whole)] : []),
      ...(report ? this.doubts(report) : []),
      ...(network ? this.remarks(network) : []),
    );
  }

  /** A notice if the reference is not the model, or was not checked against it. */
  private doubts(report: ReportData): HTMLElement[] {
    const { verified, output } = report;
    if (!verified) {
      return [];
    }
    if (verified.verdict === "differs") {
      return [this.alarm(verified, output?.sqnr_db ?? null)];
    }
    const doubts: (readonly [FindingData["severity"], string])[] = [
      ...(verified.verdict === "not-checked" ? [["warning", verified.text] as const] : []),
      ...(verified.way ? [["information", verified.way] as const] : []),
    ];
    return doubts.map(([severity, text]) =>
      el(
        "p",
        "remark",
        {},
        glyph(severity),
        el("span", "", {}, el("b", "", {}, "verified"), " ", text),
      ),
    );
  }

  private alarm(
    verified: NonNullable<ReportData["verified"]>,
    quantized: number | null,
  ): HTMLElement {
    const ratios = [
      ["reference against the model", verified.sqnr_db],
      ["quantized model against the reference", quantized],
      ["quantized model against the model", verified.actual_sqnr_db],
    ] as const;
    return el(
      "section",
      "alarm",
      { role: "alert", "aria-labelledby": "alarm" },
      el("h2", "", { id: "alarm" }, glyph("error"), "HL204 The reference is not the model"),
      el(
        "p",
        "",
        {},
        verified.beginning,
        " ",
        placeLink(this.send, verified.handle, verified.place),
      ),
      el(
        "dl",
        "ratios",
        {},
        ...ratios.map(([name, value]) =>
          value === null
            ? null
            : el("div", "", {}, el("dt", "", {}, name), el("dd", "", {}, db(value))),
        ),
      ),
      el(
        "p",
        "faint",
        {},
        "All that is shown here compares the quantized model with that graph, and not with the model.",
      ),
    );
  }

  /** Findings about no compared op. Ops left in float are many, and listed in the coverage instead. */
  private remarks({ remarks, report }: Network): HTMLElement[] {
    const differs = report.verified?.verdict === "differs";
    const said = remarks
      .filter((each) => !(differs && each.rule === "HL204"))
      .sort((a, b) => RANKS[b.severity] - RANKS[a.severity]);
    const shown = said.slice(0, REMARKS);
    const more = said.length - shown.length;
    return [
      ...shown.map((each) =>
        el(
          "p",
          "remark",
          {},
          glyph(each.severity),
          el("span", "", {}, el("b", "", {}, each.rule), " ", each.message),
          placeLink(this.send, each.handle, each.place),
        ),
      ),
      ...(more > 0
        ? [el("p", "remark faint", {}, `and ${count(more, "more finding")} like these`)]
        : []),
    ];
  }

  private show(notice: Notice, whole: boolean): HTMLElement {
    const actions = notice.actions.map(([command, label], i) =>
      button(
        i === 0 ? "primary" : "secondary",
        {},
        () => this.send({ type: "command", command }),
        label,
      ),
    );
    return el(
      "div",
      `notice ${notice.kind}${whole ? " whole" : ""}`,
      {},
      whole ? lens(notice.kind) : glyph("error"),
      el("h2", "", {}, notice.title),
      el("p", "text", {}, notice.text),
      el("div", "actions", {}, ...actions),
    );
  }
}

const RERUN_OR_LOG: Notice["actions"] = [
  ["rerun", "Run comparison"],
  ["log", "Show log"],
];

function noticeOf({ view, network }: State): Notice | null {
  if (!view) {
    return null;
  }
  if (!view.connected) {
    return network
      ? null
      : {
          kind: "busy",
          title: "Waiting for the language server",
          text: "It starts when the file is open, and says here when it has.",
          actions: [["log", "Show log"]],
        };
  }
  const shown = (network?.ops.length ?? 0) > 0;
  const { status } = view;
  if (!view.trusted) {
    return {
      kind: "empty",
      title: "This workspace is not trusted",
      text: "Measuring a model runs its code. Nothing is run before you trust the authors of the files in this workspace.",
      actions: [["trust", "Manage Workspace Trust"]],
    };
  }
  if (view.problem) {
    return {
      kind: "error",
      title: "The comparison cannot run",
      text: view.problem,
      actions: [
        ["rerun", "Try again"],
        ["log", "Show log"],
      ],
    };
  }
  if (status?.state === "running") {
    return shown
      ? null
      : {
          kind: "busy",
          title: "The comparison is running",
          text: "The model is exported, quantized and run beside its float reference.",
          actions: [["cancel", "Cancel"]],
        };
  }
  const error =
    status?.state === "failed" ? (status.error ?? "It gave no reason.") : network?.report.error;
  if (error) {
    return {
      kind: "error",
      title: shown ? "The last run failed; what is shown is from before" : "The run failed",
      text: error,
      // Above the plots, the head has the button to run it again.
      actions: shown ? [["log", "Show log"]] : RERUN_OR_LOG,
    };
  }
  if (shown) {
    return null;
  }
  if (network) {
    return {
      kind: "empty",
      title: "No op was compared",
      text: "The run ended without a single op on both sides. The log has what happened.",
      actions: RERUN_OR_LOG,
    };
  }
  return {
    kind: "empty",
    title: view.target ? "Not measured yet" : "There is no target in this file",
    text: view.target
      ? "Run the comparison to see where the quantized model loses accuracy."
      : "A function named handlens_main that returns a model and example inputs declares one.",
    actions: view.target ? [["rerun", "Run comparison"]] : [],
  };
}

/** A hand lens over a line that loses its way. */
function lens(kind: string): SVGSVGElement {
  return svg(
    "svg",
    { class: `lens ${kind}`, viewBox: "0 0 96 64", "aria-hidden": "true" },
    svg("path", {
      class: "trace",
      d: "M4 22 16 18 26 24 36 20 46 38 54 30 62 42 72 40 82 48 92 46",
    }),
    svg("circle", { class: "glass", cx: 50, cy: 32, r: 19 }),
    svg("path", { class: "handle", d: "M64 46 78 60" }),
  );
}
