/** Two output channels: the log of server and client, and the output of models and workers. */

import * as readline from "node:readline";
import * as vscode from "vscode";
import { MessageType, type LogMessageParams } from "vscode-languageclient/node";
import { LogLines } from "./logLevel";

export class Logs implements vscode.Disposable {
  readonly server = vscode.window.createOutputChannel("Handlens", { log: true });
  private workerChannel: vscode.OutputChannel | undefined;

  /** Created when it is first shown, or a model prints something. */
  get worker(): vscode.OutputChannel {
    return (this.workerChannel ??= vscode.window.createOutputChannel("Handlens: Model Output"));
  }

  /** Writes a message of the server; those of type `Log` are what models print. */
  onMessage({ type, message }: LogMessageParams): void {
    switch (type) {
      case MessageType.Error:
        this.server.error(message);
        break;
      case MessageType.Warning:
        this.server.warn(message);
        break;
      case MessageType.Info:
        this.server.info(message);
        break;
      case MessageType.Log:
        this.worker.appendLine(message);
        break;
      default:
        this.server.debug(message);
    }
  }

  /** Copies the server's standard error, which is its log. */
  follow(stderr: NodeJS.ReadableStream): void {
    const lines = new LogLines();
    readline.createInterface({ input: stderr, crlfDelay: Infinity }).on("line", (line) => {
      const { level, text } = lines.read(line);
      this.server[level](text);
    });
  }

  dispose(): void {
    this.server.dispose();
    this.workerChannel?.dispose();
  }
}
