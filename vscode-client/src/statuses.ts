/** What the server has last said of each document. */

import * as vscode from "vscode";
import type { Status } from "./protocol";

export class Statuses implements vscode.Disposable {
  private readonly byUri = new Map<string, Status>();
  private readonly changed = new vscode.EventEmitter<Status>();
  readonly onDidChange = this.changed.event;

  of(uri: vscode.Uri): Status | undefined {
    return this.byUri.get(uri.toString());
  }

  take(status: Status): void {
    // The server repeats a uri as the protocol spells it; here it is as VS Code does.
    const uri = vscode.Uri.parse(status.uri).toString();
    this.byUri.set(uri, { ...status, uri });
    this.changed.fire({ ...status, uri });
  }

  /** The server is gone, and what it said holds no more. */
  clear(): void {
    this.byUri.clear();
  }

  dispose(): void {
    this.changed.dispose();
  }
}
