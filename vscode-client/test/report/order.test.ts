import assert from "node:assert/strict";
import { test } from "node:test";
import { network } from "../../src/report/model/network";
import { arrange, WORST_FIRST } from "../../src/report/model/order";
import { op, report } from "./reports";

const ALL = { text: "", foundOnly: false };
const FOUND = network(
  report(
    [
      op(1, { sqnr_db: 12, module: "a.10" }),
      op(2, { sqnr_db: 25, module: "a.9", name: "linear" }),
      op(3, { sqnr_db: null, verdict: "non-finite", module: "b" }),
      op(4, {
        sqnr_db: null,
        verdict: "exact",
        module: "c",
        place: "other.py:3",
        in_float: "not quantized: why",
      }),
    ],
    {
      findings: [
        { rule: "HL101", severity: "warning", message: "", cause: "", handle: 2, place: "" },
      ],
    },
  ),
);

test("the worst come first: what findings are about, then what is not finite, then the lowest", () => {
  assert.deepEqual([...arrange(FOUND, WORST_FIRST, ALL)], [1, 2, 0, 3]);
});

test("numbers sort by value, exact last, and the other way around", () => {
  const by = "accumulated";
  assert.deepEqual([...arrange(FOUND, { by, descending: false }, ALL)], [2, 0, 1, 3]);
  assert.deepEqual([...arrange(FOUND, { by, descending: true }, ALL)], [3, 1, 0, 2]);
});

test("what was not compared stands before what is known to be good", () => {
  const ops = [op(1, { sqnr_db: 12 }), op(2, { sqnr_db: null, verdict: "not-compared" })];
  const sorted = arrange(network(report(ops)), { by: "accumulated", descending: false }, ALL);
  assert.deepEqual([...sorted], [1, 0]);
});

test("modules sort as people count", () => {
  assert.deepEqual([...arrange(FOUND, { by: "module", descending: false }, ALL)], [1, 0, 2, 3]);
});

test("a filter wants all of its words, anywhere", () => {
  const sorting = { by: "order", descending: false } as const;
  const filtered = (text: string, foundOnly = false): number[] => [
    ...arrange(FOUND, sorting, { text, foundOnly }),
  ];
  assert.deepEqual(filtered("CONV a.10"), [0]);
  assert.deepEqual(filtered("other.py"), [3]);
  assert.deepEqual(filtered("not quantized"), [3]);
  assert.deepEqual(filtered("nowhere"), []);
  assert.deepEqual(filtered("", true), [1]);
});
