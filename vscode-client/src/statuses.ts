/** The last status of each document. */

import * as vscode from "vscode";
import type { Status } from "./protocol";

export class Statuses implements vscode.Disposable {
  private readonly byUri = new Map<string, Status>();
  private readonly changed = new vscode.EventEmitter<Status>();
  readonly onDidChange = this.changed.event;

  of(uri: vscode.Uri): Status | undefined {
    return this.byUri.get(uri.toString());
  }

  /** The status of the file whose target measures a document: mostly itself. */
  subject(uri: vscode.Uri): Status | undefined {
    const own = this.of(uri);
    const other = own?.targets.length === 0 ? own.measured_by[0] : undefined;
    return other === undefined ? own : (this.of(vscode.Uri.parse(other)) ?? own);
  }

  take(status: Status): void {
    // Uris from the server are spelled as LSP does; convert them to the spelling of VS Code.
    const uri = vscode.Uri.parse(status.uri).toString();
    this.byUri.set(uri, { ...status, uri });
    this.changed.fire({ ...status, uri });
  }

  /** Forgets everything, because the server is gone. */
  clear(): void {
    this.byUri.clear();
  }

  dispose(): void {
    this.changed.dispose();
  }
}
