import assert from "node:assert/strict";
import { test } from "node:test";
import { pageMessage, shown } from "../../src/report/messages";

test("a panel takes from its page what its page can send, and nothing else", () => {
  assert.deepEqual(pageMessage({ type: "ready" }), { type: "ready" });
  assert.deepEqual(pageMessage({ type: "open", handle: 3, focus: true, more: 1 }), {
    type: "open",
    handle: 3,
    focus: true,
  });
  assert.deepEqual(pageMessage({ type: "open", handle: null }), {
    type: "open",
    handle: null,
    focus: false,
  });
  assert.deepEqual(pageMessage({ type: "command", command: "rerun" }), {
    type: "command",
    command: "rerun",
  });
  assert.deepEqual(pageMessage({ type: "apply", steps: 2 }), { type: "apply", steps: 2 });
  for (const wrong of [
    null,
    "ready",
    {},
    { type: "open", handle: "3" },
    { type: "detail", handle: 1.5 },
    { type: "target", name: 7 },
    { type: "apply", steps: "all" },
    { type: "command", command: "workbench.action.quit" },
  ]) {
    assert.equal(pageMessage(wrong), null);
  }
});

test("a panel comes back only where its state says of what", () => {
  assert.deepEqual(shown({ uri: "file:///m.py", target: "handlens_main", tab: "ops" }), {
    uri: "file:///m.py",
    target: "handlens_main",
  });
  assert.equal(shown(undefined), null);
  assert.equal(shown({ uri: 3 }), null);
});
