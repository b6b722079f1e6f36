import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { candidates, choose } from "../src/python/serverPython";

const installed =
  (versions: Record<string, string>) =>
  (command: string): Promise<string> =>
    command in versions
      ? Promise.resolve(`handlens ${versions[command]}\n`)
      : Promise.reject(Object.assign(new Error("spawn failed"), { code: "ENOENT" }));

test("the setting comes alone", () => {
  const found = candidates({ setting: "/opt/python", active: "/venv/bin/python" });
  assert.deepEqual(
    found.map(({ command }) => command),
    ["/opt/python"],
  );
});

test("then the Python extension's, then those on the PATH", () => {
  const found = candidates({ setting: undefined, active: "/venv/bin/python" });
  assert.deepEqual(
    found.map(({ command }) => command),
    ["/venv/bin/python", "python3", "python"],
  );
});

test("one that is too old is passed over", async () => {
  const ask = installed({ "/venv/bin/python": "3.9", python3: "3.12" });
  const choice = await choose({ setting: undefined, active: "/venv/bin/python" }, ask);
  assert.equal(choice.python, "python3");
});

test("a setting that does not do is not replaced by another, and is named", async () => {
  const ask = installed({ python3: "3.12" });
  const { python, problem } = await choose({ setting: "/gone", active: undefined }, ask);
  assert.equal(python, undefined);
  assert.match(problem, /\/gone \(handlens\.serverInterpreter\).*no such file/);
});

test("without any, one message says what was tried, what was wrong with it and what to do", async () => {
  const ask = installed({ python3: "3.8" });
  const { problem } = await choose({ setting: undefined, active: undefined }, ask);
  assert.match(problem ?? "", /needs Python 3\.10 or newer/);
  assert.match(problem ?? "", /python3 \(PATH\) is Python 3\.8/);
  assert.match(problem ?? "", /python \(PATH\) does not start/);
  assert.match(problem ?? "", /Set handlens\.serverInterpreter/);
});

test("what starts and is no Python is named as such", async () => {
  const command = join(mkdtempSync(join(tmpdir(), "handlens-")), "python");
  writeFileSync(command, "#!/bin/sh\necho hello\n");
  chmodSync(command, 0o755);
  const { problem } = await choose({ setting: command, active: undefined });
  assert.match(problem ?? "", /is no Python interpreter/);
});

test("the machine's own is found", async () => {
  const choice = await choose({ setting: undefined, active: undefined });
  assert.ok(choice.python, choice.problem);
});
