import assert from "node:assert/strict";
import * as path from "node:path";
import { test } from "node:test";
import { describe, inFolder, named, pipCommand, said } from "../src/python/environments";

const answers: Record<string, string> = {
  "/a/bin/python": '["/usr/bin/python3.11", "3.11", null, null]',
  "/b/bin/python":
    'Failed to load something\n["/usr/bin/python3.12", "3.12", "2.13.0", "0.18.0"]\n',
  "/c/bin/python": '["/usr/bin/python3.12", "3.12", "2.13.0", null]',
  python3: '["/a/bin/python", "3.11", null, null]',
};

function ask(python: string): Promise<string> {
  const answer = answers[python];
  return answer === undefined ? Promise.reject(new Error("ENOENT")) : Promise.resolve(answer);
}

test("those that can run models come first, and each comes once", async () => {
  const found = await describe([...Object.keys(answers), "/b/bin/python", "/gone"], ask);
  assert.deepEqual(
    found.map(({ python }) => python),
    ["/b/bin/python", "/c/bin/python", "/a/bin/python"],
  );
  assert.deepEqual(found.map(said), [
    "Python 3.12 · torch 2.13.0 · torchao 0.18.0",
    "Python 3.12 · torch 2.13.0 · no torchao",
    "Python 3.11 · no torch",
  ]);
});

test("a real interpreter tells what it has", async () => {
  const [found] = await describe(["python3"]);
  assert.match(found?.version ?? "", /^3\.\d+$/);
  assert.ok(path.isAbsolute(found?.python ?? ""));
});

test("environments of a folder are found by their names", () => {
  const there = path.join("/home/me/net", ".venv", "bin", "python");
  assert.deepEqual(
    inFolder("/home/me/net", (file) => file === there),
    [there],
  );
});

test("an interpreter in the folder is named from there on", () => {
  assert.equal(
    named("/home/me/net/.venv/bin/python", "/home/me/net"),
    path.join(".venv", "bin", "python"),
  );
  assert.equal(named("/usr/bin/python3", "/home/me/net"), "/usr/bin/python3");
  assert.equal(named("/home/me/network/python", "/home/me/net"), "/home/me/network/python");
  assert.equal(named("/usr/bin/python3", undefined), "/usr/bin/python3");
});

test("what is lacking is installed by the interpreter that lacks it", () => {
  const command = '-m pip install "torch==2.13.*" "torchao==0.18.*"';
  assert.equal(
    pipCommand("torch is not installed in /b c/bin/python3.11. Select another one."),
    `"/b c/bin/python3.11" ${command}`,
  );
  assert.equal(pipCommand("something else"), `python ${command}`);
});
