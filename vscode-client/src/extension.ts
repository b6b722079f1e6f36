/** The entry: registers the commands, and loads the rest once a file is about PyTorch. */

import * as vscode from "vscode";
import type { App } from "./app";
import { COMMANDS, type CommandName } from "./commandIds";
import { isRelevant } from "./relevance";

const REPORT_VIEW = "handlens.report";

let app: Promise<App> | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const load = (): Promise<App> =>
    (app ??= import("./app").then((module) => new module.App(context)));
  for (const [name, id] of Object.entries(COMMANDS) as [CommandName, string][]) {
    context.subscriptions.push(
      vscode.commands.registerCommand(id, async () => (await load()).run(name)),
    );
  }
  startWhenNeeded(context, () => void load().then((loaded) => loaded.start()));
}

export async function deactivate(): Promise<void> {
  await (await app)?.stop();
}

function startWhenNeeded(context: vscode.ExtensionContext, start: () => void): void {
  let waiting: vscode.Disposable[] = [];
  const look = (document: vscode.TextDocument): void => {
    if (waiting.length > 0 && document.languageId === "python" && isRelevant(document.getText())) {
      found();
    }
  };
  const found = (): void => {
    vscode.Disposable.from(...waiting).dispose();
    waiting = [];
    // Not awaited: other extensions wait for the activation, and the language client is slow to load.
    setImmediate(start);
  };
  waiting = [
    vscode.workspace.onDidOpenTextDocument(look),
    vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
      // Only the lines that changed: this is called for every keystroke.
      const isNews = contentChanges.some(
        ({ text, range }) =>
          isRelevant(text) ||
          (range.start.line < document.lineCount &&
            isRelevant(document.lineAt(range.start.line).text)),
      );
      if (isNews) {
        look(document);
      }
    }),
  ];
  context.subscriptions.push(
    new vscode.Disposable(() => {
      vscode.Disposable.from(...waiting).dispose();
    }),
  );
  vscode.workspace.textDocuments.forEach(look);
  // VS Code restores a report that was open when the window was closed; it needs the server.
  const isReport = ({ input }: vscode.Tab): boolean =>
    input instanceof vscode.TabInputWebview && input.viewType.endsWith(REPORT_VIEW);
  if (waiting.length > 0 && vscode.window.tabGroups.all.some(({ tabs }) => tabs.some(isReport))) {
    found();
  }
}
