import assert from "node:assert/strict";
import { test } from "node:test";
import { LogLines } from "../src/logLevel";

const levels = (...lines: string[]): string[] => {
  const log = new LogLines();
  return lines.map((line) => log.read(line).level);
};

test("time and level are the channel's to write", () => {
  const { level, text } = new LogLines().read("2026-11-25 18:50:07,661 WARNING handlens: slow");
  assert.equal(level, "warn");
  assert.equal(text, "handlens: slow");
});

test("an entry without a level is information", () => {
  const { level, text } = new LogLines().read("2026-11-25 18:50:07,661 handlens_server.runs: ran");
  assert.equal(level, "info");
  assert.equal(text, "handlens_server.runs: ran");
});

test("a traceback is an error down to the next entry", () => {
  assert.deepEqual(
    levels(
      "2026-11-25 18:50:07,661 handlens: no",
      "Traceback (most recent call last):",
      '  File "a.py", line 1',
      "ValueError: x",
      "2026-11-25 18:50:08,000 handlens: on",
    ),
    ["info", "error", "error", "error", "info"],
  );
});

test("lines that follow an entry are of its level", () => {
  assert.deepEqual(levels("2026-11-25 18:50:07,661 ERROR handlens: a", "b"), ["error", "error"]);
});
