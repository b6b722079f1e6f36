/** The messages between server and client that LSP does not have. */

import type { Location, Position, Range } from "vscode-languageclient";
import { NotificationType, RequestType } from "vscode-languageclient";

export type Verdict = "ok" | "exact" | "no-signal" | "non-finite" | "not-compared";
/** The result of comparing the reference with the model: equal to the bit, up to rounding, or not. */
export type Verified = "exact" | "ok" | "differs" | "not-checked";
export type Severity = "error" | "warning" | "information" | "hint";

/** How a document and its targets are, sent whenever something of it changes. */
export interface Status {
  /** As the client names the document; a notebook's for its cells. */
  uri: string;
  trusted: boolean;
  targets: TargetStatus[];
  /** The uris of other documents whose targets run code of this one. */
  measured_by: string[];
  /** The reason why nothing can run at all. */
  problem: string | null;
  /** What to know of the versions in the interpreter, in sentences. */
  remarks: string[];
  /** Why the targets are not known: the text does not parse, say. */
  unreadable: string | null;
}

export interface TargetStatus {
  name: string;
  kind: "function" | "class" | "configured";
  /** Of its declaration in the document; null if that is elsewhere. */
  range: Range | null;
  /** idle: never run; stale: measured before the last edits. */
  state: "idle" | "running" | "ok" | "failed" | "stale";
  stage: string | null;
  /** The stage in words. */
  stage_text: string | null;
  percentage: number | null;
  /** When its run began, in ISO 8601; null if it is not being run. */
  began: string | null;
  recipe: string | null;
  output: { verdict: Verdict; sqnr_db: number | null } | null;
  /** The ratio of the output in the result before, if it was another one. */
  previous_db: number | null;
  /** The search for what helps; null if there was none. */
  advice: AdviceStatus | null;
  /** The result of the check against the model. */
  verified: Verified | null;
  findings: Record<Severity, number>;
  /** The message of a run that failed. */
  error: string | null;
  /** ISO 8601, of the last result. */
  finished: string | null;
  seconds: number | null;
  /** Which run of the server it is: another number, another report. */
  generation: number | null;
}

export interface AdviceStatus {
  /** waiting: until nothing is compared. */
  state: "waiting" | "searching" | "done";
  /** More measurements, another advice. */
  measurements: number;
  /** The best so far: "conv2 → 39.5 dB"; empty if nothing helps yet. */
  best: string;
  /** All in a line, once the search is over. */
  text: string;
}

/** The accuracy of an output. */
export interface ScoresData {
  sqnr_db: number | null;
  exact: boolean;
  /** Of the target's own metric. */
  metric: number | null;
  /** The share of the rows whose largest score is that of the same class. */
  top1: number | null;
  text: string;
}

/** A change that is made after those of all steps before it, and what all of them give. */
export interface StepData {
  /** Of the ops. */
  name: string;
  /** What to do up to this step: "Keep conv2 and relu in float". */
  title: string;
  kind: string;
  handle: number | null;
  output: ScoresData;
  /** Shares of the model that leave the number format of the recipe, of this step and all before it. */
  cost: { multiply_adds: number; weight_bytes: number };
  /** True if the output is that of a real run. */
  verified: boolean;
}

/** What was measured to help a target. */
export interface AdviceData {
  generation: number;
  stale: boolean;
  text: string;
  objective: "sqnr" | "metric";
  before: ScoresData;
  steps: StepData[];
  /** How many steps to take. */
  recommended: number;
  reach_db: number | null;
  units: number;
  measurements: number;
  seconds: number;
  complete: boolean;
}

/** A result as the report view draws it. */
export interface ReportData {
  uri: string;
  target: string;
  recipe: string;
  generation: number;
  stale: boolean;
  batches: number;
  /** What makes the numbers mean less than they seem to, and what to do. */
  caveats: { what: string; help: string }[];
  output: {
    verdict: Verdict;
    sqnr_db: number | null;
    mse: number | null;
    max_abs_error: number | null;
    cosine: number | null;
    /** Why it was not compared. */
    reason: string;
    /** The names of what there is beside the ratio (top-1 agrees in, KL, a metric), and their values in words. */
    objectives: [string, string][];
  } | null;
  verified: {
    verdict: Verified;
    /** The verdict in words. */
    text: string;
    /** How the ops were compared, if not as usual. */
    way: string;
    /** Where the reference begins to differ, as a sentence. */
    beginning: string;
    /** Of the reference, the model being the signal. */
    sqnr_db: number | null;
    /** Of the quantized model, the model being the signal; where the reference differs. */
    actual_sqnr_db: number | null;
    /** Of the op where it begins; null leads to the target. */
    handle: number | null;
    place: string;
  } | null;
  quantized_by: { name: string; package: string; version: string }[];
  coverage: {
    ops: number;
    matched: number;
    quantized: number;
    unmatched: LeftData[];
    /** Of kinds that the recipe quantizes. */
    in_float: LeftData[];
  } | null;
  /** Seconds by stage. */
  timings: Record<string, number>;
  error: string | null;
  thresholds: { error_db: number; warning_db: number; information_db: number };
  findings: {
    rule: string;
    severity: Severity;
    message: string;
    cause: string;
    handle: number | null;
    /** model.py:42; of the target where no op is meant. */
    place: string;
  }[];
  /** In the order they run. */
  ops: OpData[];
}

/** An op that was not compared, or not quantized. */
export interface LeftData {
  op: string;
  module: string;
  reason: string;
  /** Null where it is not in the source. */
  handle: number | null;
  place: string;
}

export interface OpData {
  handle: number;
  name: string;
  module: string;
  sqnr_db: number | null;
  verdict: Verdict;
  introduced_db: number | null;
  introduced_verdict: Verdict;
  /** How far the op is left in float and why, in words; empty where it is quantized. */
  in_float: string;
  floor_db: number | null;
  /** The source text of the expression's first line, trimmed; empty where it is not known. */
  line: string;
  /** model.py:42 */
  place: string;
}

export interface OpDetail {
  handle: number;
  name: string;
  module: string;
  place: string;
  line: string;
  /** Label and value, ready to be shown. */
  rows: [string, string][];
  /** Why, and what helps, in lines. */
  cause: string[];
  /** Histogram of actual − reference. */
  errors: { low: number; high: number; counts: number[] } | null;
}

export const StatusNotification = new NotificationType<Status>("handlens/status");
// It says all by being sent; pygls refuses a notification without parameters.
export const DidGrantTrustNotification = new NotificationType<Record<string, never>>(
  "handlens/didGrantTrust",
);
export const ReportRequest = new RequestType<
  { uri: string; target: string },
  ReportData | null,
  void
>("handlens/report");
export const OpRequest = new RequestType<
  { uri: string; target: string; handle: number },
  OpDetail | null,
  void
>("handlens/op");
export const AdviceRequest = new RequestType<
  { uri: string; target: string },
  AdviceData | null,
  void
>("handlens/advice");
/** Where an op is now, or without a handle the target; null if it was edited away. */
export const LocationRequest = new RequestType<
  { uri: string; target: string; handle: number | null },
  Location | null,
  void
>("handlens/location");
export const OpsAtRequest = new RequestType<
  { uri: string; position: Position },
  { target: string; handle: number }[],
  void
>("handlens/opsAt");

/** A target of a document was selected: hints are about that one. */
export const DidSelectTargetNotification = new NotificationType<{ uri: string; target: string }>(
  "handlens/didSelectTarget",
);

/** Commands of the server, which the language client registers by itself. */
export const SERVER_COMMANDS = {
  rerun: "handlens.server.rerun",
  cancel: "handlens.server.cancel",
  report: "handlens.server.report",
  advise: "handlens.server.advise",
  applyAdvice: "handlens.server.applyAdvice",
} as const;

/** A code action that declares a target for a model class. */
export const DECLARE_TARGET_KIND = "refactor.handlens.declareTarget";
