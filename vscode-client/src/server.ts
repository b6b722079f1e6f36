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
  type ConfigurationItem,
  type CloseHandlerResult,
  type ErrorHandler,
  type LanguageClientOptions,
  type RequestType,
  type StaticFeature,
} from "vscode-languageclient/node";
import { completed, SECTION, substitute, type Variables } from "./configuration";
import type { Logs } from "./logs";
import { PAGES_SCHEME } from "./pages";
import { DidGrantTrustNotification, SERVER_COMMANDS, StatusNotification } from "./protocol";
import type { ActivePythons } from "./python/extension";
import { choose } from "./python/serverPython";
import { formatVersion } from "./python/version";
import type { Statuses } from "./statuses";
import type { ServerState } from "./statusText";

const SELECTOR = [
  { scheme: "file", language: "python" },
  { scheme: "untitled", language: "python" },
  { notebook: "*", language: "python" },
];

export class Server implements vscode.Disposable {
  private current: ServerState = { kind: "off" };
  private readonly changed = new vscode.EventEmitter<ServerState>();
  readonly onDidChange = this.changed.event;
  readonly client: LanguageClient;
  private readonly subscriptions: vscode.Disposable[] = [];
  private starting: Promise<void> | undefined;
  private python: string | undefined;

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
      // Standard output is the protocol.
      stdioOptions: { stderr: (stderr) => logs.follow(stderr), stdout: () => undefined },
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      initializationOptions: () => ({
        ...vscode.workspace.getConfiguration().get<object>(SECTION),
        workspaceTrusted: vscode.workspace.isTrusted,
      }),
      // Hovers may link to these commands, and to no others.
      markdown: { isTrusted: { enabledCommands: [SERVER_COMMANDS.rerun, SERVER_COMMANDS.report] } },
      middleware: {
        workspace: {
          configuration: async (parameters, token, next) => {
            const answers = await next(parameters, token);
            return Array.isArray(answers)
              ? Promise.all(answers.map((answer, i) => this.answer(parameters.items[i], answer)))
              : answers;
          },
        },
        executeCommand: (command, args: unknown[], next) => {
          // The report of lenses and hovers is a page in a browser: show our view instead.
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
      (willRestart) => this.crashed(willRestart),
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
      pythons.onDidChange(() => this.interpreterChanged()),
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration(`${SECTION}.serverInterpreter`)) {
          void this.restart();
        }
      }),
      vscode.workspace.onDidGrantWorkspaceTrust(() => this.trusted()),
      this.changed,
    );
  }

  get state(): ServerState {
    return this.current;
  }

  /** Start the server if it does not run; resolves once it answers, or has failed. */
  start(): Promise<void> {
    if (this.client.isRunning()) {
      return Promise.resolve();
    }
    return (this.starting ??= this.tryToStart().finally(() => (this.starting = undefined)));
  }

  /** Start the server again, with the Python that is chosen now. */
  async restart(): Promise<void> {
    await this.stop();
    this.statuses.clear();
    await this.start();
  }

  async stop(): Promise<void> {
    // The client cannot be stopped while it starts.
    await this.starting;
    if (this.client.needsStop()) {
      await this.client.stop();
    }
  }

  /** Send a command to the server, once it runs. */
  async execute(command: string, ...args: unknown[]): Promise<unknown> {
    await this.start();
    return this.client.isRunning()
      ? this.client.sendRequest(ExecuteCommandRequest.type, { command, arguments: args })
      : undefined;
  }

  /** Send a request if the server runs, else return `otherwise`: looking at a report starts nothing. */
  ask<P, R>(
    type: RequestType<P, R, void>,
    parameters: P,
    otherwise: R,
    token: vscode.CancellationToken,
  ): Promise<R> {
    return this.client.isRunning()
      ? this.client.sendRequest(type.method, parameters, token)
      : Promise.resolve(otherwise);
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
    const problem = await this.choosePython();
    if (problem !== undefined) {
      this.fail(problem, "Open Settings", () =>
        vscode.commands.executeCommand(
          "workbench.action.openSettings",
          `${SECTION}.serverInterpreter`,
        ),
      );
      return;
    }
    try {
      await this.client.start();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.logs.server.error(reason);
      this.become({ kind: "failed", problem: `its server does not start: ${reason}` });
    }
  }

  /** Find the Python that runs the server; returns a sentence if there is none. */
  private async choosePython(): Promise<string | undefined> {
    if (process.platform === "win32") {
      return (
        "Handlens runs each model in a forked process, which Windows does not have. " +
        "Open the folder in WSL, or on a Linux or macOS machine."
      );
    }
    const setting = vscode.workspace.getConfiguration(SECTION).get<string>("serverInterpreter");
    const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
    const choice = await choose({
      setting: setting ? substitute(setting, variables(folder)) : undefined,
      // An environment may be part of the workspace, and starting its Python runs what is in it.
      active: vscode.workspace.isTrusted ? await this.pythons.of(folder) : undefined,
    });
    this.python = choice.python;
    if (choice.python !== undefined) {
      this.logs.server.info(`server: ${choice.python}, Python ${formatVersion(choice.version)}`);
    }
    return choice.problem;
  }

  /** Start a process of the server; the language client asks for another one after a crash. */
  private launch(): Promise<ChildProcess> {
    const bundle = vscode.Uri.joinPath(this.context.extensionUri, "bundled").fsPath;
    // Isolated: PYTHONPATH and the user's packages are for models, and get to the worker all the same,
    // for it inherits the environment.
    const process = spawn(this.python ?? "python3", ["-I", "-X", "utf8", bundle, "--stdio"]);
    this.logs.server.info(`process ${process.pid} serves`);
    process.on("exit", (code, signal) =>
      this.logs.server.info(`process ${process.pid} ended with ${signal ?? `status ${code}`}`),
    );
    return new Promise((resolve, reject) => {
      process.once("error", reject);
      process.once("spawn", () => resolve(process));
    });
  }

  private crashed(willRestart: boolean): void {
    this.statuses.clear();
    if (willRestart) {
      this.become({ kind: "starting" });
      return;
    }
    this.fail("Its server stopped several times within minutes. Its log says why.", "Restart", () =>
      this.restart(),
    );
  }

  private fail(problem: string, remedy: string, act: () => unknown): void {
    this.logs.server.error(problem);
    this.become({ kind: "failed", problem });
    const text = problem.startsWith("Handlens") ? problem : `Handlens: ${problem}`;
    void vscode.window.showErrorMessage(text, remedy, "Show Log").then((choice) => {
      if (choice === remedy) {
        act();
      } else if (choice !== undefined) {
        this.logs.server.show();
      }
    });
  }

  /** The settings of a section for a scope, as they are sent to the server. */
  private async answer(item: ConfigurationItem | undefined, answer: unknown): Promise<unknown> {
    if (item?.section !== SECTION) {
      return answer;
    }
    const scope = item.scopeUri;
    const folder = scope ? vscode.Uri.parse(scope) : vscode.workspace.workspaceFolders?.[0]?.uri;
    const active = vscode.workspace.isTrusted ? await this.pythons.of(folder) : undefined;
    return completed(answer, active, variables(folder));
  }

  private interpreterChanged(): void {
    if (this.current.kind === "failed" && this.python === undefined) {
      void this.start();
    }
    this.reconfigure();
  }

  /** Let the server ask for the settings again; it repeats runs if the interpreter is another one. */
  private reconfigure(): void {
    if (this.client.isRunning()) {
      void this.client.sendNotification(DidChangeConfigurationNotification.type, {
        settings: null,
      });
    }
  }

  private async trusted(): Promise<void> {
    if (this.client.isRunning()) {
      // From now on the settings of the workspace and its active environment count: send them first.
      this.reconfigure();
      await this.client.sendNotification(DidGrantTrustNotification, {});
    }
  }
}

function variables(folder: vscode.Uri | undefined): Variables {
  return { workspaceFolder: folder?.fsPath, userHome: os.homedir(), env: process.env };
}

/** Tells the server what this client can do beyond LSP. */
class Capabilities implements StaticFeature {
  fillClientCapabilities(capabilities: ClientCapabilities): void {
    const ours = {
      images: true,
      commandLinks: true,
      diagnosticsInHover: true,
      status: true,
      pages: `${PAGES_SCHEME}:/`,
    };
    capabilities.experimental = { ...(capabilities.experimental as object), handlens: ours };
  }

  initialize(): void {}

  getState(): { kind: "static" } {
    return { kind: "static" };
  }

  clear(): void {}
}

/** Handles crashes as the language client does, and tells what that has decided. */
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
