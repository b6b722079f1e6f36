import assert from "node:assert/strict";
import { test } from "node:test";
import { blocks, lanes, prefix } from "../../src/report/model/blocks";
import { network } from "../../src/report/model/network";
import { op, report } from "./reports";

const inModules = (...modules: string[]) =>
  network(report(modules.map((module, i) => op(i + 1, { module, introduced_db: 10 * (i + 1) }))));

test("a prefix has no more parts than were asked for", () => {
  assert.equal(prefix("a.b.c", 1), "a");
  assert.equal(prefix("a.b.c", 2), "a.b");
  assert.equal(prefix("a.b", 5), "a.b");
  assert.equal(prefix("", 1), "");
});

test("lanes are the modules from outside in, each as long as its ops run in a row", () => {
  const [outer, inner, ...more] = lanes(
    inModules("stem", "blocks.0", "blocks.0", "", "blocks.1"),
    3,
  );
  assert.deepEqual(
    outer?.map(({ path, from, to }) => [path, from, to]),
    [
      ["stem", 0, 1],
      ["blocks", 1, 3],
      ["blocks", 4, 5],
    ],
  );
  assert.deepEqual(
    inner?.map(({ path, label, introduced }) => [path, label, introduced]),
    [
      ["blocks.0", "0", 20],
      ["blocks.1", "1", 50],
    ],
  );
  assert.deepEqual(more, []);
});

test("a module that has all ops tells nothing apart and gets no lane", () => {
  const found = lanes(inModules("model.a", "model.b"), 3);
  assert.deepEqual(
    found.map((lane) => lane.map((each) => each.path)),
    [["model.a", "model.b"]],
  );
});

test("blocks gather the ops of a module wherever they run, with the worst of them", () => {
  const [first, second] = blocks(inModules("a", "b", "a"));
  assert.deepEqual([first?.name, first?.ops, first?.introduced], ["a", [0, 2], 10]);
  assert.deepEqual([second?.name, second?.ops, second?.introduced], ["b", [1], 20]);
});

test("blocks are as deep as a screen shows them, and deeper where that would be but a few", () => {
  const layers = Array.from({ length: 100 }, (_, i) => `encoder.layers.${i}`);
  assert.equal(blocks(inModules("embeddings", ...layers)).length, 101);
  const wide = Array.from({ length: 20 }, (_, i) => [`part${i}.a`, `part${i}.b`, `part${i}.c`]);
  assert.equal(blocks(inModules(...wide.flat())).length, 20);
});

test("a long block shares its cells among its ops, and each shows its worst", () => {
  const ops = Array.from({ length: 480 }, (_, i) =>
    op(i + 1, { module: "a", introduced_db: i === 77 ? 3 : 50 }),
  );
  const [block] = blocks(network(report(ops)));
  assert.equal(block?.cells.length, 48);
  assert.equal(block.cells[7]?.worst, 77);
  assert.equal(block.cells.flatMap((each) => each.ops).length, 480);
});
