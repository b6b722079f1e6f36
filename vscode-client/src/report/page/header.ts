import type { ReportData, Severity, TargetStatus, Verified } from "../data";
import { count, ratio, seconds, whole } from "../model/format";
import type { Command, ViewState } from "../messages";
import { ago, searching } from "../../statusText";
import { apply, button, el } from "./dom";
import { glyph, icon, ICONS } from "./glyphs";
import type { Send } from "./select";
import type { Store } from "./store";

/** The head of the page: target, output ratio, state and facts. Its elements stay, and their texts change. */
export class Header {
  readonly element: HTMLElement;
  private readonly output = el("div", "output");
  private readonly title = el("div", "title");
  private readonly state = el("div", "state", { role: "status" });
  private readonly facts = el("dl", "facts");
  private readonly tools = el("div", "tools");
  private readonly progress = el("div", "progress", {
    role: "progressbar",
    "aria-label": "Comparison",
    hidden: true,
  });
  private running: boolean | undefined;
  private targets = "";

  constructor(
    private readonly store: Store,
    private readonly send: Send,
  ) {
    this.element = el(
      "header",
      "head",
      {},
      this.output,
      el("div", "about", {}, this.title, this.state),
      this.facts,
      this.tools,
      this.progress,
    );
    store.on(["view", "network"], () => this.render());
    // “3 min ago” has to change even if nothing happens.
    setInterval(() => this.renderState(), 30_000);
  }

  private render(): void {
    const { view, network } = this.store.get();
    if (!view) {
      return;
    }
    this.renderTitle(view);
    this.renderState();
    this.renderTools(view.status);
    const report = network?.report;
    this.output.replaceChildren(...(report ? bigOutput(report) : []));
    this.facts.replaceChildren(...(report ? facts(report) : []));
  }

  private renderTitle(view: ViewState): void {
    // Do not replace a list while the user chooses from it.
    const targets = [view.file, view.target, ...view.targets].join("\n");
    if (targets === this.targets) {
      return;
    }
    this.targets = targets;
    const name =
      view.targets.length > 1
        ? targetList(view, (target) => this.send({ type: "target", name: target }))
        : el("h1", "", {}, view.target || view.file);
    this.title.replaceChildren(name, el("span", "faint", {}, view.target ? view.file : ""));
  }

  private renderState(): void {
    const { view, network } = this.store.get();
    const { status } = view ?? {};
    const stale = status?.state === "stale" || (network?.report.stale ?? false);
    const [kind, text, title] = describe(status ?? null, stale);
    if (this.state.dataset.said !== kind + text) {
      this.state.dataset.said = kind + text;
      this.state.replaceChildren(el("span", `badge ${kind}`, { title }, text));
    }
    const running = status?.state === "running";
    this.progress.hidden = !isBusy(status ?? null);
    const percentage = running ? status.percentage : null;
    this.progress.classList.toggle("unknown", percentage === null);
    this.progress.style.setProperty("--done", `${percentage ?? 0}%`);
    apply(this.progress, {
      "aria-valuenow": percentage,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
    });
  }

  private renderTools(status: TargetStatus | null): void {
    const running = isBusy(status);
    if (running === this.running) {
      return;
    }
    this.running = running;
    const focused = this.tools.contains(document.activeElement);
    const tool = running
      ? this.tool("cancel", "Cancel", ICONS.stop)
      : this.tool("rerun", "Run comparison", ICONS.rerun);
    this.tools.replaceChildren(tool);
    if (focused) {
      tool.focus();
    }
  }

  private tool(command: Command, label: string, path: string): HTMLButtonElement {
    return button(
      "tool",
      { "aria-label": label, title: label },
      () => this.send({ type: "command", command }),
      icon(path),
    );
  }
}

/** True while something is measured: a run, or the search behind it. */
function isBusy(status: TargetStatus | null): boolean {
  return status?.state === "running" || status?.advice?.state === "searching";
}

function targetList(view: ViewState, chosen: (name: string) => void): HTMLElement {
  const list = el(
    "select",
    "target",
    { "aria-label": "Target" },
    ...view.targets.map((name) => el("option", "", { value: name }, name)),
  );
  list.value = view.target;
  list.addEventListener("change", () => chosen(list.value));
  // The list is the heading of the page.
  return el("h1", "", {}, list);
}

function describe(status: TargetStatus | null, stale: boolean): [string, string, string] {
  if (status?.state === "running") {
    const stage = status.stage_text ?? "running";
    const share = !status.percentage ? "" : ` ${Math.round(status.percentage)} %`;
    return ["running", `${stage}…${share}`, "A comparison is running"];
  }
  if (status?.state === "failed") {
    return ["failed", "failed", status.error ?? "The last run failed"];
  }
  if (stale) {
    return [
      "stale",
      "stale: measured before the last edits",
      "Run the comparison to measure the text as it is now",
    ];
  }
  if (status?.advice?.state === "searching") {
    return ["running", searching(status.advice), "What is found is under What helps"];
  }
  const finished = status?.finished ? new Date(status.finished) : null;
  return finished
    ? ["fresh", `measured ${ago(finished, new Date())}`, finished.toLocaleString()]
    : ["fresh", "", ""];
}

function bigOutput(report: ReportData): Node[] {
  const { output, thresholds } = report;
  if (!output) {
    return [el("span", "big", {}, "–"), el("span", "faint", {}, "output not measured")];
  }
  const [number, unit] = ratio(output.verdict, output.sqnr_db).split(" dB");
  const differs = report.verified?.verdict === "differs";
  const level = differs ? "error" : levelOf(output, thresholds);
  const about = output.reason || (differs ? "not against the model" : "output SQNR");
  return [
    el(
      "span",
      `big ${level}`,
      {},
      number ?? "",
      unit === undefined ? null : el("small", "", {}, "dB"),
    ),
    el("span", "faint", {}, about),
  ];
}

/** The severity of the output's accuracy. An output that was not compared may be bad. */
function levelOf(
  { verdict, sqnr_db, mse }: NonNullable<ReportData["output"]>,
  { error_db, warning_db, information_db }: ReportData["thresholds"],
): Severity | "good" {
  switch (verdict) {
    case "non-finite":
      return "error";
    case "not-compared":
      return "warning";
    case "no-signal":
      return mse ? "error" : "information";
    case "exact":
      return "good";
    case "ok": {
      const at = sqnr_db ?? Infinity;
      return at < error_db
        ? "error"
        : at < warning_db
          ? "warning"
          : at < information_db
            ? "information"
            : "good";
    }
  }
}

// The check against the model, if it did not succeed; the server's words are too long for the head.
const DOUBTS: Readonly<Partial<Record<Verified, readonly [string, Severity]>>> = {
  differs: ["reference ≠ model", "error"],
  "not-checked": ["not against the model", "warning"],
};

function verified({ verdict, text, way }: NonNullable<ReportData["verified"]>): HTMLElement {
  const [doubt, severity] = DOUBTS[verdict] ?? [];
  const title = way ? `${text}; ${way}` : text;
  return fact("verified", title, severity ? glyph(severity) : null, doubt ?? text);
}

function quantizer(by: ReportData["quantized_by"]): HTMLElement {
  const said = by.map(({ name, package: from, version }) => ({ name, from: `${from} ${version}` }));
  return fact(
    by.length > 1 ? "quantizers" : "quantizer",
    said.map(({ name, from }) => `${name}, ${from}`).join("; "),
    ...said.flatMap(({ name, from }, i) => [
      el("span", "", {}, `${i > 0 ? "+ " : ""}${name}`),
      el("span", "faint", {}, from),
    ]),
  );
}

function fact(name: string, title: string | null, ...value: (Node | string | null)[]): HTMLElement {
  return el("div", "", { title }, el("dt", "", {}, name), el("dd", "said", {}, ...value));
}

function facts(report: ReportData): Node[] {
  const { coverage } = report;
  const total = Object.entries(report.timings)
    .filter(([stage]) => stage !== "advise")
    .reduce((sum, [, each]) => sum + each, 0);
  const nodes: Node[] = (report.output?.objectives ?? []).map(([name, value]) =>
    fact(name, null, value),
  );
  nodes.push(fact("recipe", null, report.recipe || "–"));
  if (report.verified) {
    nodes.push(verified(report.verified));
  }
  if (coverage) {
    const compared = `${whole(coverage.matched)} of ${count(coverage.ops, "op")} compared`;
    nodes.push(
      fact("compared", compared, `${whole(coverage.matched)} / ${whole(coverage.ops)}`),
      fact("quantized", null, count(coverage.quantized, "op")),
    );
  }
  if (report.quantized_by.length > 0) {
    nodes.push(quantizer(report.quantized_by));
  }
  nodes.push(fact("batches", null, whole(report.batches)));
  nodes.push(...report.caveats.map(({ what, help }) => fact("caveat", help, what)));
  if (total > 0) {
    nodes.push(fact("time", null, seconds(total)));
  }
  const counts = (["error", "warning", "information"] as const)
    .map((severity) => ({
      severity,
      found: report.findings.filter((each) => each.severity === severity).length,
    }))
    .filter(({ found }) => found > 0);
  if (counts.length > 0) {
    nodes.unshift(
      el(
        "div",
        "",
        {},
        el("dt", "", {}, "findings"),
        el(
          "dd",
          "counts",
          {},
          ...counts.map(({ severity, found }) => {
            const plural = severity === "information" ? severity : undefined;
            return el(
              "span",
              "",
              { title: count(found, severity, plural) },
              glyph(severity),
              whole(found),
            );
          }),
        ),
      ),
    );
  }
  return nodes;
}
