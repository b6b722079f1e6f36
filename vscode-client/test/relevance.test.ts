import assert from "node:assert/strict";
import { test } from "node:test";
import { isRelevant } from "../src/relevance";

for (const text of [
  "import torch",
  "from torch import nn",
  "import torch.nn.functional as F",
  "from torchao.quantization import quantize_",
  "def handlens_main():\n    return build()",
  "x = f()  # handlens: ignore",
]) {
  test(`a server is started for ${JSON.stringify(text)}`, () => {
    assert.ok(isRelevant(text));
  });
}

for (const text of [
  "",
  "import numpy",
  "torchlight = 1",
  "from mytorch import x",
  "handlensing = 1",
]) {
  test(`none is started for ${JSON.stringify(text)}`, () => {
    assert.ok(!isRelevant(text));
  });
}
