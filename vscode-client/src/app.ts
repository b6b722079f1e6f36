/** Everything that is loaded once a file is open that there is something to do for. */

import type * as vscode from "vscode";
import { Logs } from "./logs";
import { ActivePythons } from "./python/extension";
import { Server } from "./server";
import { Statuses } from "./statuses";

export class App {
  private readonly server: Server;

  constructor(context: vscode.ExtensionContext) {
    const logs = new Logs();
    const statuses = new Statuses();
    const pythons = new ActivePythons();
    this.server = new Server(context, logs, statuses, pythons, () => undefined);
    context.subscriptions.push(logs, statuses, pythons, this.server);
  }

  start(): Promise<void> {
    return this.server.start();
  }

  stop(): Promise<void> {
    return this.server.client.stop();
  }
}
