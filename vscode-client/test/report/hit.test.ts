import assert from "node:assert/strict";
import { test } from "node:test";
import { column, hit } from "../../src/report/model/hit";
import { network } from "../../src/report/model/network";
import { pixelOf } from "../../src/report/model/scale";
import { op, report } from "./reports";

const RANGE = { low: 0, high: 100 };
const pixel = (ratio: number): number => pixelOf(ratio, RANGE, 0, 200);

function at(x: number, y: number, count: number, width = 1000): Parameters<typeof hit>[1] {
  return { x, y, width, window: { from: 0, to: count }, pixel };
}

test("far from all points, a pointer means the op of its column", () => {
  const found = network(report([op(1), op(2), op(3), op(4)]));
  assert.equal(hit(found, at(10, 5, 4)), 0);
  assert.equal(hit(found, at(990, 195, 4)), 3);
});

test("beside the network it means nothing", () => {
  const found = network(report([op(1)]));
  assert.equal(hit(found, at(-1, 5, 1)), -1);
  assert.equal(hit(found, at(1000, 5, 1)), -1);
  assert.equal(column(5, 100, { from: 0, to: 1 }, 0), -1);
});

test("of ops that are closer than pixels, the one whose point is near is meant", () => {
  const ops = Array.from({ length: 10_000 }, (_, i) =>
    op(i + 1, { sqnr_db: 50, introduced_db: i === 5003 ? 12 : 80 }),
  );
  const found = network(report(ops));
  assert.equal(hit(found, at(500, pixel(12), 10_000)), 5003);
});

test("a finding is hit from a little further away", () => {
  const ops = Array.from({ length: 1000 }, (_, i) => op(i + 1, { sqnr_db: 50 }));
  const findings = [
    { rule: "HL101", severity: "error" as const, message: "", cause: "", handle: 504, place: "" },
  ];
  const found = network(report(ops, { findings }));
  assert.equal(hit(found, at(500.5, pixel(50), 1000)), 503);
  assert.equal(hit(network(report(ops)), at(500.5, pixel(50), 1000)), 500);
});
