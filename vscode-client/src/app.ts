/** The parts that are loaded once a relevant file is open. */

import * as vscode from "vscode";
import type { CommandName } from "./commandIds";
import { chooseInterpreter, tellProblem } from "./commands/chooseInterpreter";
import { compareRecipe } from "./commands/compareRecipe";
import { declareTarget } from "./commands/declareTarget";
import { menu } from "./commands/menu";
import { selectTarget } from "./commands/selectTarget";
import { activeDocument, ownerOf } from "./documents";
import { Logs } from "./logs";
import { registerPages } from "./pages";
import {
  AdviceRequest,
  DidSelectTargetNotification,
  LocationRequest,
  OpRequest,
  OpsAtRequest,
  ReportRequest,
  SERVER_COMMANDS,
  type Status,
} from "./protocol";
import { ActivePythons } from "./python/extension";
import { registerReportView, type ReportSource } from "./report/panel";
import { Selection } from "./selection";
import { Server } from "./server";
import { StatusItem } from "./statusItem";
import { Statuses } from "./statuses";

export class App {
  private readonly logs = new Logs();
  private readonly statuses = new Statuses();
  private readonly selection = new Selection();
  private readonly server: Server;
  private readonly pythons: ActivePythons;
  /** The problems that were told. */
  private readonly told = new Set<string>();
  private readonly showReport: (uri: vscode.Uri) => void;

  constructor(private readonly context: vscode.ExtensionContext) {
    registerPages(context);
    const pythons = (this.pythons = new ActivePythons());
    this.server = new Server(context, this.logs, this.statuses, pythons, (uri) =>
      this.showReport(uri),
    );
    context.subscriptions.push(
      new StatusItem(this.server, this.statuses, this.selection),
      this.server,
      pythons,
      this.selection,
      this.statuses,
      this.logs,
    );
    const view = registerReportView(context, this.reportSource(), {
      rerun: (uri) => this.server.execute(SERVER_COMMANDS.rerun, uri),
      cancel: (uri) => this.server.execute(SERVER_COMMANDS.cancel, uri),
      advise: (uri) => this.server.execute(SERVER_COMMANDS.advise, uri),
      applyAdvice: (uri, target, steps) =>
        this.server.execute(SERVER_COMMANDS.applyAdvice, uri, target, steps),
      showLog: () => this.logs.server.show(),
      select: (uri, target) => this.selection.select(uri, target),
    });
    context.subscriptions.push(this.statuses.onDidChange(() => this.tellProblem()));
    this.selection.onDidChange(({ uri, target }) => {
      view.select(uri, target);
      void this.server.client.sendNotification(DidSelectTargetNotification, { uri, target });
    });
    this.showReport = (uri) => {
      const status = this.statuses.of(uri);
      view.show(uri.toString(), status && this.selection.of(status)?.name);
    };
  }

  start(): Promise<void> {
    return this.server.start();
  }

  stop(): Promise<void> {
    return this.server.stop();
  }

  async run(command: CommandName): Promise<void> {
    await this.commands[command]();
  }

  private readonly commands: Record<CommandName, () => unknown> = {
    rerun: () => this.withDocument((uri) => this.rerun(uri)),
    cancel: () => this.withDocument((uri) => this.execute(SERVER_COMMANDS.cancel, uri)),
    advise: () => this.withDocument((uri) => this.execute(SERVER_COMMANDS.advise, uri)),
    showReport: () => this.withDocument((uri) => this.showReport(uri)),
    openReportPage: () =>
      this.withDocument((uri) => this.execute(SERVER_COMMANDS.report, uri, "html")),
    compareRecipe,
    selectTarget: () => selectTarget(this.status(), this.selection),
    declareTarget: () => declareTarget(this.server),
    chooseInterpreter: () => {
      const document = activeDocument();
      return chooseInterpreter(this.pythons, document && ownerOf(document));
    },
    menu: () => {
      const status = this.status();
      return menu(status, status && this.selection.of(status), this.context.extension.id);
    },
    restart: () => this.server.restart(),
    showLog: () => this.logs.server.show(),
    showModelOutput: () => this.logs.worker.show(),
  };

  private status(): Status | undefined {
    const document = activeDocument();
    return document && this.statuses.subject(ownerOf(document));
  }

  /** Tell why models of the document cannot be run, once. */
  private tellProblem(): void {
    const status = this.status();
    if (status?.problem == null) {
      // What comes up again is told again.
      this.told.clear();
    } else if (!this.told.has(status.problem)) {
      this.told.add(status.problem);
      void tellProblem(status.problem, this.pythons, vscode.Uri.parse(status.uri));
    }
  }

  private async withDocument(act: (uri: vscode.Uri) => unknown): Promise<void> {
    const document = activeDocument();
    if (document === undefined) {
      void vscode.window.showInformationMessage(
        "Handlens: open the Python file with the model first.",
      );
      return;
    }
    await this.server.start();
    const subject = this.statuses.subject(ownerOf(document));
    await act(subject ? vscode.Uri.parse(subject.uri) : ownerOf(document));
  }

  private execute(command: string, uri: vscode.Uri, ...args: unknown[]): Promise<unknown> {
    return this.server.execute(command, this.identify(uri), ...args);
  }

  private async rerun(uri: vscode.Uri): Promise<void> {
    const status = this.statuses.of(uri);
    if (status?.trusted === false) {
      await offer("no model is run in a workspace that is not trusted.", {
        title: "Manage Trust",
        run: () => vscode.commands.executeCommand("workbench.trust.manage"),
      });
    } else if (status?.targets.length === 0) {
      await offer("this file has no target.", {
        title: "Declare a Target",
        run: () => declareTarget(this.server),
      });
    } else {
      await this.execute(SERVER_COMMANDS.rerun, uri);
    }
  }

  /** A uri in the form that was sent to the server. */
  private identify(uri: vscode.Uri): string {
    return this.server.client.code2ProtocolConverter.asUri(uri);
  }

  private reportSource(): ReportSource {
    const { client } = this.server;
    const identify = (uri: string): string => this.identify(vscode.Uri.parse(uri));
    return {
      status: (uri) => this.statuses.of(vscode.Uri.parse(uri)),
      onDidChange: this.statuses.onDidChange,
      report: (uri, target, token) =>
        this.server.ask(ReportRequest, { uri: identify(uri), target }, null, token),
      op: (uri, target, handle, token) =>
        this.server.ask(OpRequest, { uri: identify(uri), target, handle }, null, token),
      advice: (uri, target, token) =>
        this.server.ask(AdviceRequest, { uri: identify(uri), target }, null, token),
      location: (uri, target, handle, token) =>
        this.server.ask(LocationRequest, { uri: identify(uri), target, handle }, null, token),
      opsAt: (uri, position, token) => {
        const place = client.code2ProtocolConverter.asPosition(position);
        return this.server.ask(OpsAtRequest, { uri: identify(uri), position: place }, [], token);
      },
    };
  }
}

async function offer(
  problem: string,
  remedy: { title: string; run: () => unknown },
): Promise<void> {
  const choice = await vscode.window.showInformationMessage(`Handlens: ${problem}`, remedy.title);
  if (choice !== undefined) {
    await remedy.run();
  }
}
