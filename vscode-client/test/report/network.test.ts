import assert from "node:assert/strict";
import { test } from "node:test";
import type { FindingData } from "../../src/report/data";
import { network, nextFinding, RANKS, recall, remember } from "../../src/report/model/network";
import { op, report } from "./reports";

function finding(handle: number | null, severity: FindingData["severity"]): FindingData {
  return { rule: "HL101", severity, message: severity, cause: "", handle, place: "" };
}

test("an op has the gravest of its findings, and what is about none of them is a remark", () => {
  const found = network(
    report([op(5), op(9)], {
      findings: [
        finding(9, "hint"),
        finding(9, "error"),
        finding(null, "warning"),
        finding(77, "hint"),
      ],
    }),
  );
  assert.deepEqual([...found.severity], [0, RANKS.error]);
  assert.deepEqual(
    found.findings.get(1)?.map((each) => each.severity),
    ["error", "hint"],
  );
  assert.deepEqual(
    found.remarks.map((each) => each.handle),
    [null, 77],
  );
});

test("what has no ratio is NaN, never 0 dB", () => {
  const { accumulated } = network(report([op(1, { sqnr_db: null, verdict: "exact" })]));
  assert.ok(Number.isNaN(accumulated[0]));
});

test("page keys go from finding to finding, past hints, and stay at the last", () => {
  const found = network(
    report([op(1), op(2), op(3), op(4)], {
      findings: [finding(2, "warning"), finding(3, "hint"), finding(4, "error")],
    }),
  );
  assert.equal(nextFinding(found, -1, 1), 1);
  assert.equal(nextFinding(found, 1, 1), 3);
  assert.equal(nextFinding(found, 3, 1), 3);
  assert.equal(nextFinding(found, 3, -1), 1);
});

test("a selected op is found in the next run by its handle", () => {
  const before = network(report([op(1), op(2), op(3)]));
  const after = network(report([op(2), op(3)]));
  assert.equal(recall(after, remember(before, 2)), 1);
});

test("where handles were counted anew, the op is found by name, module and how many came before", () => {
  const relu = { name: "relu", module: "features.1" };
  const before = network(report([op(1), op(2, relu), op(3, relu)]));
  const after = network(report([op(10), op(11, relu), op(2), op(12, relu), op(13, relu)]));
  // Handle 2 is a convolution now.
  assert.equal(recall(after, remember(before, 1)), 1);
  assert.equal(recall(after, remember(before, 2)), 3);
});

test("an op that is gone is not selected", () => {
  const before = network(report([op(1, { name: "gelu" })]));
  const after = network(report([op(1)]));
  assert.equal(recall(after, remember(before, 0)), -1);
  assert.equal(recall(after, remember(before, -1)), -1);
});
