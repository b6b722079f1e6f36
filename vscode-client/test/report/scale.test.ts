import assert from "node:assert/strict";
import { test } from "node:test";
import {
  clamp,
  CLOSEST,
  decibels,
  follow,
  pan,
  pixelOf,
  rescale,
  reveal,
  ticks,
  zoom,
} from "../../src/report/model/scale";

test("the axis reaches from 0 to 40 dB at least, in whole tens, and not to the ends of the earth", () => {
  assert.deepEqual(decibels(Float32Array.of(12, 33)), { low: 0, high: 40 });
  assert.deepEqual(decibels(Float32Array.of(-3, NaN), Float32Array.of(61)), { low: -10, high: 70 });
  assert.deepEqual(decibels(Float32Array.of(-500, 900)), { low: -20, high: 100 });
});

test("ticks are whole tens that have the space they ask for", () => {
  assert.deepEqual(ticks({ low: 0, high: 40 }, 200), [0, 10, 20, 30, 40]);
  assert.deepEqual(ticks({ low: -20, high: 100 }, 100), [0, 50, 100]);
});

test("a ratio beyond the axis is drawn at its end", () => {
  const range = { low: 0, high: 40 };
  assert.equal(pixelOf(0, range, 10, 110), 110);
  assert.equal(pixelOf(20, range, 10, 110), 60);
  assert.equal(pixelOf(118, range, 10, 110), 10);
  assert.equal(pixelOf(-9, range, 10, 110), 110);
});

test("zooming keeps the op under the pointer where it is", () => {
  const before = { from: 100, to: 300 };
  const after = zoom(before, 0.5, 150, 1000);
  assert.deepEqual(after, { from: 125, to: 225 });
  assert.equal((150 - after.from) / 100, (150 - before.from) / 200);
});

test("zooming ends at a few ops and at all of them", () => {
  const close = zoom({ from: 10, to: 20 }, 0.001, 15, 1000);
  assert.equal(close.to - close.from, CLOSEST);
  assert.deepEqual(zoom({ from: 10, to: 20 }, 1000, 15, 1000), { from: 0, to: 1000 });
  assert.deepEqual(zoom({ from: 0, to: 3 }, 0.1, 1, 3), { from: 0, to: 3 });
});

test("panning stops at the ends of the network", () => {
  assert.deepEqual(pan({ from: 10, to: 20 }, -50, 100), { from: 0, to: 10 });
  assert.deepEqual(pan({ from: 10, to: 20 }, 500, 100), { from: 90, to: 100 });
});

test("an op that is in view moves nothing; one that is not comes in with what is around it", () => {
  const window = { from: 100, to: 200 };
  assert.equal(reveal(window, 150, 1000), window);
  const after = reveal(window, 400, 1000);
  assert.ok(after.from < 400 && 401 < after.to);
  assert.equal(after.to - after.from, 100);
});

test("an op that is further on in the next run stays where it was on the screen", () => {
  assert.deepEqual(follow({ from: 10, to: 30 }, 12, 17, 100), { from: 15, to: 35 });
  assert.deepEqual(follow({ from: 10, to: 30 }, 12, 2, 100), { from: 0, to: 20 });
});

test("a network of another length shows the same part of itself", () => {
  assert.deepEqual(rescale({ from: 50, to: 100 }, 100, 200), { from: 100, to: 200 });
  assert.deepEqual(rescale({ from: 0, to: 100 }, 100, 101), { from: 0, to: 101 });
  assert.deepEqual(clamp({ from: -5, to: 5 }, 4), { from: 0, to: 4 });
});
