/** The report view: one panel per document, beside the editor, which comes back after a reload. */

import * as vscode from "vscode";
import { html, options } from "./html";
import { shown } from "./messages";
import { Session } from "./session";
import type { ReportActions, ReportSource } from "./source";

export type { ReportActions, ReportSource } from "./source";

/** Also in package.json, as the activation event `onWebviewPanel:handlens.report`. */
export const VIEW_TYPE = "handlens.report";

export interface ReportView {
  /** Shows the report of a document beside its editor; without `target` that of its first target. */
  show(uri: string, target?: string): void;
  /** Another target of a document was chosen elsewhere: its panel follows if there is one. */
  select(uri: string, target: string): void;
}

export function registerReportView(
  context: vscode.ExtensionContext,
  source: ReportSource,
  actions: ReportActions,
): ReportView {
  const sessions = new Map<string, Session>();

  const attach = (panel: vscode.WebviewPanel, uri: string, target: string | undefined): void => {
    panel.webview.options = options(context.extensionUri);
    panel.iconPath = vscode.Uri.joinPath(context.extensionUri, "images", "icon.svg");
    const session = new Session(panel, uri, target, source, actions);
    sessions.set(uri, session);
    panel.onDidDispose(() => {
      session.dispose();
      if (sessions.get(uri) === session) {
        sessions.delete(uri);
      }
    });
    panel.webview.html = html(panel.webview, context.extensionUri);
  };

  context.subscriptions.push(
    vscode.window.registerWebviewPanelSerializer(VIEW_TYPE, {
      // eslint-disable-next-line @typescript-eslint/require-await
      async deserializeWebviewPanel(panel, state: unknown) {
        const last = shown(state);
        if (!last || sessions.has(last.uri)) {
          panel.dispose();
          return;
        }
        attach(panel, last.uri, last.target);
      },
    }),
    new vscode.Disposable(() => {
      for (const session of [...sessions.values()]) {
        session.dispose();
      }
    }),
  );

  return {
    select(uri, target) {
      sessions.get(uri)?.select(target);
    },
    show(uri, target) {
      const session = sessions.get(uri);
      if (session) {
        session.show(target);
        return;
      }
      // The page is not retained while hidden: it restores itself from the state that a reload of the
      // window needs anyway, in less time than a frame is noticed, and takes no memory meanwhile.
      const panel = vscode.window.createWebviewPanel(
        VIEW_TYPE,
        "Accuracy",
        { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true },
        options(context.extensionUri),
      );
      attach(panel, uri, target);
    },
  };
}
