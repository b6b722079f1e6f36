import assert from "node:assert/strict";
import { test } from "node:test";
import type { AdviceData, ScoresData, StepData } from "../../src/report/data";
import { axis, curve, gain, more, share } from "../../src/report/model/advice";

function scores(sqnr_db: number | null, change: Partial<ScoresData> = {}): ScoresData {
  const text = sqnr_db === null ? "exact" : `${sqnr_db.toFixed(1)} dB`;
  return { sqnr_db, exact: sqnr_db === null, metric: null, top1: null, text, ...change };
}

function step(output: ScoresData): StepData {
  return {
    name: "conv2",
    title: "Keep conv2 in float",
    kind: "keep-float",
    handle: 4,
    output,
    cost: { multiply_adds: 0, weight_bytes: 0 },
    verified: true,
  };
}

function advice(outputs: ScoresData[], change: Partial<AdviceData> = {}): AdviceData {
  return {
    generation: 1,
    stale: false,
    text: "",
    objective: "sqnr",
    before: scores(9.16),
    steps: outputs.map(step),
    recommended: outputs.length,
    reach_db: null,
    units: 6,
    measurements: 14,
    seconds: 2,
    complete: true,
    ...change,
  };
}

test("the curve begins without any change, and has a point for each step", () => {
  const { points } = curve(advice([scores(39.4), scores(42.3)]));
  assert.deepEqual(
    points.map(({ steps, value }) => [steps, value]),
    [
      [0, 9.16],
      [1, 39.4],
      [2, 42.3],
    ],
  );
});

test("an exact output has no ratio, and does not stretch the axis", () => {
  const drawn = curve(advice([scores(39.4), scores(null)]));
  assert.ok(Number.isNaN(drawn.points[2]?.value));
  assert.deepEqual(drawn.range, { low: 0, high: 40 });
  assert.equal(more(drawn, 2), "");
});

test("a step tells how much it adds to those before it", () => {
  const drawn = curve(advice([scores(39.4), scores(39)]));
  assert.equal(more(drawn, 1), "+30.2");
  assert.equal(more(drawn, 2), "−0.4");
});

test("what steps win is told in what the search went by", () => {
  const after = scores(39.42);
  assert.equal(gain(advice([after]), after), "output 9.2 → 39.4 dB");
  assert.equal(gain(advice([]), scores(null)), "output 9.2 dB → exact");
  const better = scores(12, { metric: 0.97 });
  const metric = advice([better], { objective: "metric", before: scores(9, { metric: 0.62 }) });
  assert.equal(gain(metric, better), "metric 0.62 → 0.97");
});

test("a metric has an axis of its own, even if it never changes", () => {
  const same = scores(12, { metric: 0.5 });
  const drawn = curve(advice([same], { objective: "metric", before: scores(9, { metric: 0.5 }) }));
  assert.ok(drawn.range.low < 0.5 && drawn.range.high > 0.5);
  assert.equal(axis(drawn, 100).length, 5);
});

test("a small cost is not called none", () => {
  assert.equal(share(0), "0 %");
  assert.equal(share(0.0001), "< 0.1 %");
  assert.equal(share(0.0612), "6.1 %");
  assert.equal(share(1), "100 %");
});
