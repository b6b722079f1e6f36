/** The entry: waits for a file that there is something to do for, and loads the rest then. */

import * as vscode from "vscode";
import type { App } from "./app";
import { isRelevant } from "./relevance";

let app: Promise<App> | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const load = (): Promise<App> =>
    (app ??= import("./app").then((module) => new module.App(context)));
  const start = (): void => {
    vscode.Disposable.from(...waiting).dispose();
    void load().then((loaded) => loaded.start());
  };
  const look = (document: vscode.TextDocument): void => {
    if (document.languageId === "python" && isRelevant(document.getText())) {
      start();
    }
  };
  const waiting = [
    vscode.workspace.onDidOpenTextDocument(look),
    vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
      // Only the lines that changed: this runs on every keystroke.
      const isNews = contentChanges.some(
        ({ text, range }) => isRelevant(text) || isRelevant(document.lineAt(range.start).text),
      );
      if (isNews) {
        look(document);
      }
    }),
  ];
  context.subscriptions.push(...waiting);
  vscode.workspace.textDocuments.forEach(look);
}

export async function deactivate(): Promise<void> {
  await (await app)?.stop();
}
