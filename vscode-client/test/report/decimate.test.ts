import assert from "node:assert/strict";
import { test } from "node:test";
import { columns, crowded } from "../../src/report/model/decimate";
import { numbers } from "./reports";

test("every column has the lowest, highest, first and last of its ops", () => {
  const values = Float32Array.from(numbers(10_000, -10, 90));
  const window = { from: 1234.5, to: 8765.25 };
  const width = 613;
  const found = columns(values, window, width);
  const expected: number[][] = Array.from({ length: width }, () => []);
  values.forEach((value, i) => {
    const column = Math.floor(((i + 0.5 - window.from) / (window.to - window.from)) * width);
    expected[column]?.push(value);
  });
  expected.forEach((each, i) => {
    assert.equal(found.low[i], Math.min(...each));
    assert.equal(found.high[i], Math.max(...each));
    assert.equal(found.first[i], each[0]);
    assert.equal(found.last[i], each.at(-1));
  });
});

test("an op without a ratio leaves no trace, and a column without any is a gap", () => {
  const { low, high, first } = columns(Float32Array.of(NaN, 5, NaN, NaN), { from: 0, to: 4 }, 2);
  assert.deepEqual([...low], [5, NaN]);
  assert.deepEqual([...high], [5, NaN]);
  assert.deepEqual([...first], [5, NaN]);
});

test("a window beyond the network has nothing in it", () => {
  const { low } = columns(Float32Array.of(1, 2), { from: -10, to: 0 }, 5);
  assert.ok(low.every((each) => Number.isNaN(each)));
});

test("columns are drawn where there are more ops than pixels", () => {
  assert.ok(!crowded({ from: 0, to: 500 }, 1000));
  assert.ok(crowded({ from: 0, to: 10_000 }, 1000));
});
