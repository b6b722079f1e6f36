import assert from "node:assert/strict";
import { test } from "node:test";
import type { Status, TargetStatus } from "../src/protocol";
import { ago, describe, type Known, type StatusText } from "../src/statusText";

const NOW = new Date("2026-11-25T12:00:00Z");

const TARGET: TargetStatus = {
  name: "handlens_main",
  kind: "function",
  range: null,
  state: "ok",
  stage: null,
  stage_text: null,
  percentage: null,
  began: null,
  recipe: "x86",
  output: { verdict: "ok", sqnr_db: 19.46 },
  previous_db: null,
  advice: null,
  verified: "exact",
  findings: { error: 0, warning: 2, information: 1, hint: 30 },
  error: null,
  finished: "2026-11-25T11:58:00Z",
  seconds: 3.1,
  generation: 1,
};

const STATUS: Status = {
  uri: "file:///m.py",
  trusted: true,
  targets: [TARGET],
  measured_by: [],
  problem: null,
  remarks: [],
  unreadable: null,
};

function at(change: Partial<Known>): StatusText {
  const known: Known = {
    server: { kind: "running" },
    status: STATUS,
    target: TARGET,
    measuredBy: undefined,
    isRelevant: true,
  };
  return describe({ ...known, ...change }, NOW);
}

function text(change: Partial<TargetStatus> = {}): StatusText {
  return at({ target: { ...TARGET, ...change } });
}

test("a run that takes long tells how long it has taken", () => {
  const running = { state: "running", stage_text: "exporting", percentage: 15 } as const;
  assert.equal(text({ ...running, began: "2026-11-25T11:59:58Z" }).detail, "exporting 15 % …");
  assert.equal(text({ ...running, began: "2026-11-25T11:59:30Z" }).detail, "exporting 15 % … 30 s");
  assert.equal(
    text({ ...running, began: "2026-11-25T11:56:55Z" }).detail,
    "exporting 15 % … 3 min 5 s",
  );
});

test("a file that another one's target measures names both", () => {
  assert.equal(at({ measuredBy: "train.py" }).text, "train.py › handlens_main 19.5 dB");
});

test("a text that does not parse is not taken for one without a target", () => {
  const unreadable = "net.py does not parse: line 3: invalid syntax";
  const { detail, severity } = at({ target: undefined, status: { ...STATUS, unreadable } });
  assert.equal(detail, unreadable);
  assert.equal(severity, "error");
});

test("a reference that is not the model is told before the findings", () => {
  assert.match(text({ verified: "differs" }).detail, /^reference ≠ model · /);
});

test("a result reads as its accuracy, recipe, findings and age", () => {
  const { text: title, detail, severity, busy, action } = text();
  assert.equal(title, "handlens_main 19.5 dB");
  assert.equal(detail, "x86 · 2 warnings · 2 min ago");
  assert.deepEqual([severity, busy, action], ["warning", false, "menu"]);
});

test("the worst finding gives the severity", () => {
  const none = { error: 0, warning: 0, information: 0, hint: 0 };
  assert.equal(text({ findings: { ...none, error: 1, warning: 1 } }).severity, "error");
  assert.equal(text({ findings: { ...none, information: 4, hint: 4 } }).severity, "information");
  assert.match(text({ findings: none }).detail, /no findings/);
  assert.match(text({ findings: { ...none, information: 4 } }).detail, /4 information/);
});

test("what was not measured is no number", () => {
  assert.match(text({ output: { verdict: "exact", sqnr_db: null } }).text, /exact$/);
  assert.match(text({ output: { verdict: "non-finite", sqnr_db: null } }).text, /NaN or Inf$/);
  assert.match(text({ output: { verdict: "no-signal", sqnr_db: null } }).text, /no signal$/);
  assert.match(text({ output: null }).text, /nothing measured$/);
});

test("a result of before says so", () => {
  assert.match(text({ state: "stale" }).detail, /^stale · x86/);
});

test("a run shows its stage, and that it goes on", () => {
  const running = text({ state: "running", stage_text: "quantizing", percentage: 40 });
  assert.equal(running.detail, "quantizing 40 % …");
  assert.ok(running.busy);
});

test("a search shows the best so far beside the result, and that it goes on", () => {
  const advice = {
    state: "searching",
    measurements: 3,
    best: "conv2 → 39.4 dB",
    text: "",
  } as const;
  const found = text({ advice });
  assert.equal(found.text, "handlens_main 19.5 dB");
  assert.equal(found.detail, "what helps: conv2 → 39.4 dB so far …");
  assert.ok(found.busy);
  assert.equal(text({ advice: { ...advice, best: "" } }).detail, "searching for what helps …");
  assert.ok(!text({ advice: { ...advice, state: "done" } }).busy);
});

test("a result that differs from the one before tells both", () => {
  assert.equal(text({ previous_db: 9.16 }).text, "handlens_main 9.2 → 19.5 dB");
});

test("a failed run shows why", () => {
  const failed = text({ state: "failed", error: "forward() takes 2 arguments" });
  assert.equal(failed.text, "handlens_main failed");
  assert.equal(failed.detail, "forward() takes 2 arguments");
  assert.equal(failed.severity, "error");
});

test("a long reason is cut, so that what can be clicked on stays in view", () => {
  const { text: title, detail } = text({ state: "failed", error: "very ".repeat(30) });
  assert.ok(title.length + detail.length <= 60);
  assert.match(detail, / …$/);
  assert.equal(text({ state: "failed", error: "short\nsecond line" }).detail, "short");
});

test("of a deep path the last parts are shown", () => {
  const problem = "torch is not installed in /home/me/work/model/.venv/bin/python";
  const { detail } = at({ status: { ...STATUS, problem } });
  assert.equal(detail, "torch is not installed in …/bin/python");
});

test("a target that never ran offers to run it", () => {
  assert.equal(text({ state: "idle" }).action, "rerun");
});

test("a model without a target offers to declare one", () => {
  const none = at({ status: { ...STATUS, targets: [] }, target: undefined });
  assert.equal(none.action, "declare");
  assert.equal(none.severity, "information");
});

test("a file that has nothing to do with PyTorch is left alone", () => {
  const other = at({ status: { ...STATUS, targets: [] }, target: undefined, isRelevant: false });
  assert.equal(other.detail, "no PyTorch model in this file");
  assert.equal(other.action, "menu");
});

test("a configured target counts without the word torch in its file", () => {
  assert.match(at({ isRelevant: false }).text, /^handlens_main/);
});

test("a workspace that is not trusted says so first", () => {
  const restricted = at({ status: { ...STATUS, trusted: false } });
  assert.equal(restricted.action, "trust");
  assert.equal(restricted.severity, "warning");
});

test("a worker that cannot run says why", () => {
  const problem = "/usr/bin/python3 has no torch";
  const stuck = at({ status: { ...STATUS, problem } });
  assert.match(stuck.detail, /has no torch$/);
  assert.equal(stuck.severity, "error");
});

test("a server that is gone offers to start it again, whatever it last said", () => {
  const gone = at({ server: { kind: "failed", problem: "no Python" } });
  assert.deepEqual([gone.detail, gone.severity, gone.action], ["no Python", "error", "restart"]);
});

test("a server that starts is busy", () => {
  const nothing = { status: undefined, target: undefined };
  assert.ok(at({ server: { kind: "starting" }, ...nothing }).busy);
  assert.ok(!at(nothing).busy);
});

test("ages are as people say them", () => {
  const before = (minutes: number): string => ago(new Date(NOW.getTime() - minutes * 60_000), NOW);
  assert.equal(before(0.5), "just now");
  assert.equal(before(-3), "just now");
  assert.equal(before(59), "59 min ago");
  assert.equal(before(61), "1 h ago");
  assert.equal(before(24 * 60), "1 day ago");
  assert.equal(before(3 * 24 * 60), "3 days ago");
});
