/** The language client, and the server's process behind it. */

import { spawn, type ChildProcess } from "node:child_process";
import * as os from "node:os";
import * as vscode from "vscode";
import {
  CloseAction,
  DidChangeConfigurationNotification,
  ExecuteCommandRequest,
  LanguageClient,
  LogMessageNotification,
  RevealOutputChannelOn,
  State,
  type ClientCapabilities,
  type CloseHandlerResult,
  type ErrorHandler,
  type LanguageClientOptions,
  type StaticFeature,
} from "vscode-languageclient/node";
import { completed, SECTION, substitute, type Variables } from "./configuration";
import type { Logs } from "./logs";
import { DidGrantTrustNotification, SERVER_COMMANDS, StatusNotification } from "./protocol";
import type { ActivePythons } from "./python/extension";
import { choose } from "./python/serverPython";
import { formatVersion } from "./python/version";
import type { Statuses } from "./statuses";

const SELECTOR = [
  { scheme: "file", language: "python" },
  { scheme: "untitled", language: "python" },
  { notebook: "*", language: "python" },
];

/** How the server is: `failed` is for good, with a sentence about why. */
export type ServerState =
  | { kind: "off" | "starting" | "running" }
  | { kind: "failed"; problem: string };

export class Server implements vscode.Disposable {
  private current: ServerState = { kind: "off" };
  private readonly changed = new vscode.EventEmitter<ServerState>();
  readonly onDidChange = this.changed.event;
  readonly client: LanguageClient;
  private readonly subscriptions: vscode.Disposable[] = [];
  private starting: Promise<void> | undefined;

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly logs: Logs,
    private readonly statuses: Statuses,
    private readonly pythons: ActivePythons,
    showReport: (uri: vscode.Uri) => unknown,
  ) {
    this.client = new LanguageClient(SECTION, "Handlens", () => this.launch(), {
      documentSelector: SELECTOR,
      outputChannel: logs.server,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      initializationOptions: () => ({
        ...vscode.workspace.getConfiguration().get<object>(SECTION),
        workspaceTrusted: vscode.workspace.isTrusted,
      }),
      // Links of these commands and no others are followed from hovers.
      markdown: { isTrusted: { enabledCommands: [SERVER_COMMANDS.rerun, SERVER_COMMANDS.report] } },
      middleware: {
        workspace: {
          configuration: async (parameters, token, next) => {
            const answers = await next(parameters, token);
            return Array.isArray(answers)
              ? Promise.all(
                  answers.map((answer, index) => {
                    const { section, scopeUri } = parameters.items[index] ?? {};
                    return section === SECTION ? this.configuration(answer, scopeUri) : answer;
                  }),
                )
              : answers;
          },
        },
        executeCommand: (command, args: unknown[], next) => {
          // In lenses and hovers "the report" is a page in a browser; here there is a view of our own.
          const [uri, form] = args;
          if (command === SERVER_COMMANDS.report && typeof uri === "string" && form !== "json") {
            return showReport(vscode.Uri.parse(uri));
          }
          return next(command, args) as unknown;
        },
      },
    } satisfies LanguageClientOptions);
    this.client.clientOptions.errorHandler = new CrashHandler(
      this.client.createDefaultErrorHandler(),
      (willRestart) => {
        statuses.clear();
        this.become(
          willRestart
            ? { kind: "starting" }
            : {
                kind: "failed",
                problem:
                  "The Handlens server stopped several times in a row. Its log says why; " +
                  "“Handlens: Restart” starts it again.",
              },
        );
      },
    );
    this.client.registerFeature(new Capabilities());
    this.client.onNotification(LogMessageNotification.type, (message) => logs.onMessage(message));
    this.client.onNotification(StatusNotification, (status) => statuses.take(status));
    this.subscriptions.push(
      this.client.onDidChangeState(({ newState }) => {
        if (newState === State.Running) {
          this.become({ kind: "running" });
        }
      }),
      pythons.onDidChange(() => this.reconfigure()),
      vscode.workspace.onDidGrantWorkspaceTrust(() => this.trusted()),
      this.changed,
    );
  }

  get state(): ServerState {
    return this.current;
  }

  /** Start the server if it is not there; resolves once it answers, or cannot. */
  start(): Promise<void> {
    if (this.client.isRunning()) {
      return Promise.resolve();
    }
    return (this.starting ??= this.tryToStart().finally(() => (this.starting = undefined)));
  }

  /** Start it again, with the Python that is right now. */
  async restart(): Promise<void> {
    await this.starting;
    if (this.client.needsStop()) {
      await this.client.stop();
    }
    this.statuses.clear();
    await this.start();
  }

  /** Send a command of the server, once that is there. */
  async execute(command: string, ...args: unknown[]): Promise<unknown> {
    await this.start();
    return this.client.isRunning()
      ? this.client.sendRequest(ExecuteCommandRequest.type, { command, arguments: args })
      : undefined;
  }

  dispose(): void {
    vscode.Disposable.from(...this.subscriptions).dispose();
  }

  private become(state: ServerState): void {
    this.current = state;
    this.changed.fire(state);
  }

  private async tryToStart(): Promise<void> {
    this.become({ kind: "starting" });
    try {
      await this.client.start();
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      this.become({ kind: "failed", problem });
    }
  }

  /** A process of the server. The client calls this again after a crash. */
  private async launch(): Promise<ChildProcess> {
    const setting = vscode.workspace.getConfiguration(SECTION).get<string>("serverInterpreter");
    const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
    const choice = await choose({
      setting: setting ? substitute(setting, variables(folder)) : undefined,
      // An environment may be part of the workspace, and starting its Python runs what is in it.
      active: vscode.workspace.isTrusted ? await this.pythons.of(folder) : undefined,
    });
    if (choice.python === undefined) {
      throw new Error(choice.problem);
    }
    const bundle = vscode.Uri.joinPath(this.context.extensionUri, "bundled").fsPath;
    // Isolated: PYTHONPATH and packages of the user are for models. They still get to the worker, for
    // the environment is handed on.
    const args = ["-I", "-X", "utf8", bundle, "--stdio"];
    this.logs.server.info(
      `starting ${choice.python} (Python ${formatVersion(choice.version)}) ${args.join(" ")}`,
    );
    const process = spawn(choice.python, args, { windowsHide: true });
    process.on("error", (error) => this.logs.server.error(error));
    process.on("exit", (code, signal) =>
      this.logs.server.info(`the server ended with ${signal ?? `status ${code}`}`),
    );
    return process;
  }

  private async configuration(answer: unknown, scope: string | undefined): Promise<unknown> {
    const folder = scope ? vscode.Uri.parse(scope) : vscode.workspace.workspaceFolders?.[0]?.uri;
    const active = vscode.workspace.isTrusted ? await this.pythons.of(folder) : undefined;
    return completed(answer, active, variables(folder));
  }

  /** Let the server ask for the settings again. */
  private reconfigure(): void {
    if (this.client.isRunning()) {
      void this.client.sendNotification(DidChangeConfigurationNotification.type, {
        settings: null,
      });
    }
  }

  private async trusted(): Promise<void> {
    if (this.client.isRunning()) {
      // What the workspace sets and which environment is active counts from now on, and comes first.
      this.reconfigure();
      await this.client.sendNotification(DidGrantTrustNotification);
    }
  }
}

function variables(folder: vscode.Uri | undefined): Variables {
  return { workspaceFolder: folder?.fsPath, userHome: os.homedir(), env: process.env };
}

/** Says what this client can do beyond LSP. */
class Capabilities implements StaticFeature {
  fillClientCapabilities(capabilities: ClientCapabilities): void {
    const ours = { images: true, commandLinks: true, status: true };
    capabilities.experimental = { ...(capabilities.experimental as object), handlens: ours };
  }

  initialize(): void {}

  getState(): { kind: "static" } {
    return { kind: "static" };
  }

  clear(): void {}
}

/** The language client's own handling of crashes, and word of what it decides. */
class CrashHandler implements ErrorHandler {
  readonly error: ErrorHandler["error"];

  constructor(
    private readonly inner: ErrorHandler,
    private readonly onCrash: (willRestart: boolean) => void,
  ) {
    this.error = inner.error.bind(inner);
  }

  async closed(): Promise<CloseHandlerResult> {
    const result = await this.inner.closed();
    this.onCrash(result.action === CloseAction.Restart);
    return { ...result, handled: true };
  }
}
