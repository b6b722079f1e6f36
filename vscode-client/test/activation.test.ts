import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import * as path from "node:path";
import { test } from "node:test";
import { runInThisContext } from "node:vm";

type Listener = (event: unknown) => void;

/** A window of VS Code, as far as the entry has to do with it. */
interface Window {
  commands: string[];
  /** How often the rest of the extension was started. */
  started: number;
  open: (document: unknown) => void;
  change: (document: unknown, line: number, text: string) => void;
}

const SHIPPED = path.resolve("out/test/shipped");

function document(text: string, languageId = "python"): object {
  const lines = text.split("\n");
  return {
    languageId,
    getText: () => text,
    lineCount: lines.length,
    lineAt: (line: number) => ({ text: lines[line] }),
  };
}

/** Activate the bundled entry in a window with some documents and tabs. */
function activate(documents: object[] = [], viewTypes: string[] = []): Window {
  const window: Window = { commands: [], started: 0, open: () => {}, change: () => {} };
  const listeners: Record<"open" | "change", Set<Listener>> = {
    open: new Set(),
    change: new Set(),
  };
  const on = (set: Set<Listener>) => (listener: Listener) => {
    set.add(listener);
    return { dispose: () => set.delete(listener) };
  };
  class TabInputWebview {
    constructor(readonly viewType: string) {}
  }
  class Disposable {
    constructor(readonly dispose: () => void) {}
    static from(...all: { dispose: () => void }[]): Disposable {
      return new Disposable(() => all.forEach((each) => each.dispose()));
    }
  }
  const vscode = {
    Disposable,
    TabInputWebview,
    commands: { registerCommand: (id: string) => window.commands.push(id) },
    window: {
      tabGroups: {
        all: [{ tabs: viewTypes.map((each) => ({ input: new TabInputWebview(each) })) }],
      },
    },
    workspace: {
      textDocuments: documents,
      onDidOpenTextDocument: on(listeners.open),
      onDidChangeTextDocument: on(listeners.change),
    },
  };
  class App {
    start(): void {
      window.started += 1;
    }
  }
  const require = createRequire(path.join(SHIPPED, "x.js"));
  const replaced: Record<string, unknown> = { vscode, "./app": { App } };
  const entry = { exports: {} as { activate: (context: object) => void } };
  const load = runInThisContext(
    `(function (require, module, exports) {${readFileSync(path.join(SHIPPED, "extension.js"), "utf8")}\n})`,
  ) as (require: (name: string) => unknown, module: object, exports: object) => void;
  load((name) => replaced[name] ?? (require(name) as unknown), entry, entry.exports);
  entry.exports.activate({ subscriptions: [] });
  window.open = (opened) => [...listeners.open].forEach((each) => each(opened));
  window.change = (changed, line, text) =>
    [...listeners.change].forEach((each) =>
      each({ document: changed, contentChanges: [{ text, range: { start: { line } } }] }),
    );
  return window;
}

/** What is loaded on demand is there after this. */
const loaded = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("the commands are there at once, and nothing else is loaded", async () => {
  const window = activate([document("import numpy")]);
  await loaded();
  assert.ok(window.commands.includes("handlens.rerun"));
  assert.equal(window.started, 0);
});

test("a file with torch that is open already starts the server", async () => {
  const window = activate([document("print()"), document("import torch")]);
  await loaded();
  assert.equal(window.started, 1);
});

test("so does one that is opened, once", async () => {
  const window = activate();
  window.open(document("import torch", "plaintext"));
  window.open(document("import os"));
  await loaded();
  assert.equal(window.started, 0);
  window.open(document("import torch"));
  window.open(document("import torch"));
  await loaded();
  assert.equal(window.started, 1);
});

test("and one that torch is typed or pasted into", async () => {
  const typed = activate([document("import torc")]);
  typed.change(document("import torch"), 0, "h");
  await loaded();
  assert.equal(typed.started, 1);
  const pasted = activate([document("")]);
  pasted.change(document("import os\nimport torch"), 0, "import os\nimport torch");
  await loaded();
  assert.equal(pasted.started, 1);
});

test("a report that comes back with the window starts the server it needs", async () => {
  const window = activate([], ["mainThreadWebview-handlens.report"]);
  await loaded();
  assert.equal(window.started, 1);
  const other = activate([], ["mainThreadWebview-markdown.preview"]);
  await loaded();
  assert.equal(other.started, 0);
});

test("activation takes next to no time", () => {
  const begin = performance.now();
  activate([document("import numpy\n".repeat(10_000))]);
  assert.ok(performance.now() - begin < 100);
});
