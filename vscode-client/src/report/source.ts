/** The parts of the extension that the report view uses. */

import type * as vscode from "vscode";
import type { Location } from "vscode-languageclient";
import type { AdviceData, OpDetail, ReportData, Status } from "./data";

export interface ReportSource {
  /** The last status of a document that the server sent. */
  status(uri: string): Status | undefined;
  readonly onDidChange: vscode.Event<Status>;
  report(uri: string, target: string, token: vscode.CancellationToken): Promise<ReportData | null>;
  advice(uri: string, target: string, token: vscode.CancellationToken): Promise<AdviceData | null>;
  op(
    uri: string,
    target: string,
    handle: number,
    token: vscode.CancellationToken,
  ): Promise<OpDetail | null>;
  /** Where an op is now, or without a handle the target; null if it was edited away. */
  location(
    uri: string,
    target: string,
    handle: number | null,
    token: vscode.CancellationToken,
  ): Promise<Location | null>;
  /** The ops at a place in a document, the innermost expression's. */
  opsAt(
    uri: string,
    position: vscode.Position,
    token: vscode.CancellationToken,
  ): Promise<readonly { readonly target: string; readonly handle: number }[]>;
}

/** Events in the view that other parts react to. */
export interface ReportActions {
  /** Another target of a document was chosen. */
  select(uri: string, target: string): unknown;
  rerun(uri: string): unknown;
  cancel(uri: string): unknown;
  advise(uri: string): unknown;
  applyAdvice(uri: string, target: string, steps: number): unknown;
  showLog(): unknown;
}
