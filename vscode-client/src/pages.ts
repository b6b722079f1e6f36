/** The pages of the documentation, from what is installed: findings link to that of their rule. */

import * as vscode from "vscode";

/** package.json has these pages shown as Markdown is, rather than as its text. */
export const PAGES_SCHEME = "handlens-pages";

export function registerPages(context: vscode.ExtensionContext): void {
  const folder = vscode.Uri.joinPath(context.extensionUri, "bundled", "docs");
  context.subscriptions.push(
    vscode.workspace.registerTextDocumentContentProvider(PAGES_SCHEME, {
      provideTextDocumentContent: async ({ path }) => {
        const bytes = await vscode.workspace.fs.readFile(vscode.Uri.joinPath(folder, path));
        return new TextDecoder().decode(bytes);
      },
    }),
  );
}
