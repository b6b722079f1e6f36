/** Two output channels: what server and client log, and what models and their worker print. */

import * as readline from "node:readline";
import * as vscode from "vscode";
import { MessageType, type LogMessageParams } from "vscode-languageclient/node";
import { LogLines } from "./logLevel";

export class Logs implements vscode.Disposable {
  readonly server = vscode.window.createOutputChannel("Handlens", { log: true });
  private workerChannel: vscode.OutputChannel | undefined;

  /** It is there once somebody looks for it or a model prints something. */
  get worker(): vscode.OutputChannel {
    return (this.workerChannel ??= vscode.window.createOutputChannel("Handlens: Model Output"));
  }

  /** A message of the server: what models print comes as `Log`, and is theirs. */
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

  /** Follow the server's standard error, which is its log. */
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
