/** Remembers the selected target of each document. */

import * as vscode from "vscode";
import type { Status, TargetStatus } from "./protocol";

export interface Selected {
  uri: string;
  target: string;
}

export class Selection implements vscode.Disposable {
  private readonly names = new Map<string, string>();
  private readonly changed = new vscode.EventEmitter<Selected>();
  /** Fires when somebody selected another target. */
  readonly onDidChange = this.changed.event;

  /** The selected target of a document; the first one until somebody selects another. */
  of(status: Status): TargetStatus | undefined {
    const name = this.names.get(status.uri);
    return status.targets.find((each) => each.name === name) ?? status.targets[0];
  }

  select(uri: string, target: string): void {
    if (this.names.get(uri) !== target) {
      this.names.set(uri, target);
      this.changed.fire({ uri, target });
    }
  }

  dispose(): void {
    this.changed.dispose();
  }
}
