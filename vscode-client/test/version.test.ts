import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { isRecentEnough, parseVersion, PRINT_VERSION } from "../src/python/version";

test("the version is read from what an interpreter prints", () => {
  assert.deepEqual(parseVersion("handlens 3.12\n"), [3, 12]);
  assert.deepEqual(parseVersion("handlens 3.10\r\n"), [3, 10]);
});

test("what else a wrapper prints does no harm", () => {
  assert.deepEqual(parseVersion("activating env 2.7\nhandlens 3.11\nbye\n"), [3, 11]);
});

test("what is no interpreter has no version", () => {
  assert.equal(parseVersion(""), undefined);
  assert.equal(parseVersion("Python 3.12.1"), undefined);
});

test("3.10 is the oldest that will do", () => {
  assert.ok(isRecentEnough([3, 10]));
  assert.ok(isRecentEnough([3, 14]));
  assert.ok(isRecentEnough([4, 0]));
  assert.ok(!isRecentEnough([3, 9]));
  assert.ok(!isRecentEnough([2, 7]));
});

test("a real interpreter answers so that it is understood", () => {
  const output = execFileSync("python3", ["-I", "-c", PRINT_VERSION], { encoding: "utf8" });
  assert.ok(parseVersion(output));
});
