import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { problemOf, RECIPES } from "../src/recipes";

test("the recipes are those of docs/recipes.md, in its order", () => {
  // The tests run in vscode-client.
  const page = readFileSync("../docs/recipes.md", "utf8");
  const documented = [...page.matchAll(/^\| `([\w-]+)` \|/gm)].map(([, name]) => name);
  assert.deepEqual(
    RECIPES.map(({ name }) => name),
    documented,
  );
});

for (const recipe of ["x86", "x86+embedding", "a.b:c", "a:b.c+x86", " a:b + x86 "]) {
  test(`“${recipe}” can be a recipe`, () => {
    assert.equal(problemOf(recipe), undefined);
  });
}

for (const recipe of ["", "x87", "a.b", "a:", ":b", "x86+", "a:b c"]) {
  test(`“${recipe}” cannot, and a sentence says why`, () => {
    assert.match(problemOf(recipe) ?? "", /module:callable/);
  });
}
