import assert from "node:assert/strict";
import { test } from "node:test";
import { completed, substitute } from "../src/configuration";

const variables = { workspaceFolder: "/ws", userHome: "/home/me", env: { CONDA: "/conda" } };

test("the Python extension's interpreter is told where the user set none", () => {
  const told = completed({ interpreter: "", run: "manual" }, "/venv/bin/python", variables);
  assert.deepEqual(told, { interpreter: "/venv/bin/python", run: "manual" });
  assert.deepEqual(completed({}, "/venv/bin/python", variables), {
    interpreter: "/venv/bin/python",
  });
});

test("what the user set goes over it", () => {
  const told = completed({ interpreter: "/mine" }, "/venv/bin/python", variables);
  assert.deepEqual(told, { interpreter: "/mine" });
});

test("without either nothing is told, and the server chooses", () => {
  assert.deepEqual(completed({ interpreter: "" }, undefined, variables), { interpreter: "" });
});

test("what is no section stays as it is", () => {
  assert.equal(completed(null, "/venv/bin/python", variables), null);
});

test("variables are replaced", () => {
  const told = completed(
    { interpreter: "${workspaceFolder}/.venv/bin/python" },
    undefined,
    variables,
  );
  assert.deepEqual(told, { interpreter: "/ws/.venv/bin/python" });
  assert.equal(substitute("${userHome}/x", variables), "/home/me/x");
  assert.equal(substitute("${env:CONDA}/bin/python", variables), "/conda/bin/python");
  assert.equal(substitute("${env:GONE}/bin", variables), "/bin");
});

test("variables that are not known, or stand for nothing, stay", () => {
  assert.equal(substitute("${file}", variables), "${file}");
  const none = { ...variables, workspaceFolder: undefined };
  assert.equal(substitute("${workspaceFolder}/a", none), "${workspaceFolder}/a");
});
