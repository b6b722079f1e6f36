import assert from "node:assert/strict";
import { test } from "node:test";
import { IN_FLOAT, LEGEND, step, stepOf, STEPS } from "../../src/report/model/colours";
import { reasons } from "../../src/report/model/coverage";
import {
  accumulated,
  count,
  db,
  fixed,
  introduced,
  ratio,
  seconds,
  sentence,
  short,
} from "../../src/report/model/format";
import { network } from "../../src/report/model/network";
import { summary } from "../../src/report/model/summary";
import { op, report, VERIFIED } from "./reports";

test("decibels have one decimal, a true minus, and never a negative zero", () => {
  assert.equal(db(17.339), "17.3 dB");
  assert.equal(db(-4.21), "−4.2 dB");
  assert.equal(fixed(-0.04), "0.0");
  assert.equal(fixed(NaN), "–");
});

test("what has no number says why", () => {
  assert.equal(ratio("exact", null), "exact");
  assert.equal(ratio("non-finite", null), "NaN or Inf");
  assert.equal(ratio("no-signal", null), "no signal");
  assert.equal(ratio("not-compared", null), "not compared");
  assert.equal(ratio("ok", null), "–");
});

test("times and counts read well at any size", () => {
  assert.deepEqual([0.0456, 2.533, 49.72, 126].map(seconds), [
    "46 ms",
    "2.53 s",
    "49.7 s",
    "2 min 6 s",
  ]);
  assert.deepEqual([count(1, "op"), count(10_000, "op")], ["1 op", "10,000 ops"]);
  assert.deepEqual([0, -1.234, 0.00012, 123456].map(short), ["0", "−1.2", "1.2e-4", "1.2e+5"]);
});

test("colours step by 10 dB, and what has no error has one of its own", () => {
  assert.deepEqual([-5, 3, 10, 29.9, 50, 118].map(step), [0, 0, 1, 2, 5, 5]);
  assert.equal(step(NaN), STEPS);
  assert.equal(LEGEND[STEPS], "no error");
});

test("a screen reader hears of an op what the plot shows of it", () => {
  const finding = {
    rule: "HL101",
    severity: "warning" as const,
    message: "conv2d 30.0 dB",
    cause: "",
    handle: 1,
    place: "model.py:10",
  };
  assert.equal(
    sentence(op(1), 0, 12, [finding]),
    "conv2d in features.0, accumulated 30.0 dB, introduced 40.0 dB, warning: conv2d 30.0 dB, model.py:10, op 1 of 12",
  );
});

test("an op in float is not quantized, and never exact", () => {
  const left = "not quantized: keep_float asks for it";
  const none = { sqnr_db: null, verdict: "exact", introduced_db: null } as const;
  const alone = op(1, { ...none, introduced_verdict: "exact", in_float: left });
  assert.equal(accumulated(alone), "no noise");
  assert.equal(introduced(alone), "not quantized");
  assert.match(sentence(alone, 0, 1, []), /not quantized: keep_float asks for it/);
  assert.doesNotMatch(sentence(alone, 0, 1, []), /exact/);
  assert.equal(introduced({ ...alone, introduced_db: 45, introduced_verdict: "ok" }), "45.0 dB");
});

test("what is not quantized has a colour of its own, where nothing has a ratio", () => {
  const left = op(1, { in_float: "not quantized: why" });
  assert.equal(stepOf([left], NaN), IN_FLOAT);
  assert.equal(stepOf([left, op(2)], NaN), STEPS);
  assert.equal(stepOf([left], 45), 4);
  assert.equal(LEGEND[IN_FLOAT], "not quantized");
});

test("the summary names the output, the lowest ops and the findings", () => {
  const found = network(
    report([op(1), op(2, { name: "linear", module: "", sqnr_db: 9 })], {
      verified: { ...VERIFIED, text: "reference = model (131 dB)" },
      findings: [
        { rule: "HL101", severity: "error", message: "", cause: "", handle: 2, place: "" },
      ],
    }),
  );
  assert.equal(
    summary(found),
    "SQNR along 2 ops. Output 19.5 dB. Verified: reference = model (131 dB). Accumulated is lowest at linear: 9.0 dB. " +
      "Introduced is lowest at conv2d in features.0: 40.0 dB. 1 error.",
  );
});

test("the summary says how logits agree and what the metric gives", () => {
  const { output } = report([]);
  assert.ok(output);
  const objectives: [string, string][] = [
    ["top-1 agrees in", "97.2 % of 64 rows"],
    ["accuracy", "0.982 → 0.914"],
  ];
  assert.equal(
    summary(network(report([], { output: { ...output, objectives } }))),
    "SQNR along 0 ops. Output 19.5 dB. top-1 agrees in 97.2 % of 64 rows. accuracy 0.982 → 0.914.",
  );
});

test("reasons are counted, the most frequent first", () => {
  const unmatched = ["folded", "erased", "folded"].map((reason, i) => ({
    op: `op${i}`,
    module: "",
    reason,
    handle: null,
    place: "",
  }));
  assert.deepEqual(
    reasons(unmatched).map(({ reason, ops }) => [reason, ops.length]),
    [
      ["folded", 2],
      ["erased", 1],
    ],
  );
});
