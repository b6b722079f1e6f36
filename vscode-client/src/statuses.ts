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
    // The server repeats the uri as it was told it; VS Code's own spelling is the key.
    this.byUri.set(vscode.Uri.parse(status.uri).toString(), status);
    this.changed.fire(status);
  }

  /** The server is gone: what it said holds no more. */
  clear(): void {
    this.byUri.clear();
  }

  forget(uri: vscode.Uri): void {
    this.byUri.delete(uri.toString());
  }

  dispose(): void {
    this.changed.dispose();
  }
}
