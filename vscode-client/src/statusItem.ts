/** The language status item: the state of the target that the user is at. */

import * as vscode from "vscode";
import { COMMANDS } from "./commandIds";
import { activeDocument, fileName, ownerOf, SELECTOR, textsOf } from "./documents";
import { isRelevant } from "./relevance";
import type { Selection } from "./selection";
import type { Server } from "./server";
import type { Statuses } from "./statuses";
import { describe, type StatusText } from "./statusText";

// “2 min ago”, and how long a run has taken, may be out of date by this much.
const REFRESH_MS = 5_000;

const ACTIONS: Record<StatusText["action"], vscode.Command> = {
  menu: { title: "Actions …", command: COMMANDS.menu },
  interpreter: { title: "Choose interpreter …", command: COMMANDS.chooseInterpreter },
  declare: { title: "Declare a target …", command: COMMANDS.declareTarget },
  trust: { title: "Manage trust …", command: "workbench.trust.manage" },
  restart: { title: "Restart", command: COMMANDS.restart },
  rerun: { title: "Compare", command: COMMANDS.rerun },
};

const SEVERITIES: Record<StatusText["severity"], vscode.LanguageStatusSeverity> = {
  information: vscode.LanguageStatusSeverity.Information,
  warning: vscode.LanguageStatusSeverity.Warning,
  error: vscode.LanguageStatusSeverity.Error,
};

export class StatusItem implements vscode.Disposable {
  private readonly item = vscode.languages.createLanguageStatusItem("handlens.status", SELECTOR);
  private readonly said = new Map<string, boolean>();
  private readonly subscriptions: vscode.Disposable[];

  constructor(
    private readonly server: Server,
    private readonly statuses: Statuses,
    private readonly selection: Selection,
  ) {
    this.item.name = "Handlens";
    const update = (): void => this.update();
    const timer = setInterval(update, REFRESH_MS);
    this.subscriptions = [
      server.onDidChange(update),
      statuses.onDidChange(update),
      selection.onDidChange(update),
      vscode.window.onDidChangeActiveTextEditor(update),
      new vscode.Disposable(() => clearInterval(timer)),
      this.item,
    ];
    this.update();
  }

  dispose(): void {
    vscode.Disposable.from(...this.subscriptions).dispose();
  }

  private say(name: string, value: boolean): void {
    if (this.said.get(name) !== value) {
      this.said.set(name, value);
      void vscode.commands.executeCommand("setContext", `handlens.${name}`, value);
    }
  }

  private update(): void {
    const document = activeDocument();
    const owner = document && ownerOf(document);
    const status = owner && this.statuses.subject(owner);
    const target = status && this.selection.of(status);
    const isOther = status !== undefined && status.uri !== owner?.toString();
    const measuredBy = isOther ? fileName(status.uri) : undefined;
    const isRelevant = document !== undefined && textsOf(document).some(isAboutTorch);
    const { text, detail, severity, busy, action } = describe(
      { server: this.server.state, status, target, measuredBy, isRelevant },
      new Date(),
    );
    this.item.text = text;
    this.item.detail = detail;
    this.item.severity = SEVERITIES[severity];
    this.item.busy = busy;
    this.item.command = ACTIONS[action];
    // Show what needs a target beside the editor's tabs, and tick the steps of the walkthrough.
    this.say("hasModel", isRelevant);
    this.say("hasTarget", target !== undefined);
    this.say("hasResult", target?.state === "ok");
  }
}

function isAboutTorch(document: vscode.TextDocument): boolean {
  return isRelevant(document.getText());
}
