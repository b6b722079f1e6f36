import * as vscode from "vscode";
import { activeDocument } from "../documents";
import type { Status, TargetStatus } from "../protocol";
import type { Selection } from "../selection";
import { accuracy } from "../statusText";

/** Let the user pick a target of a document, and go to it. */
export async function selectTarget(
  status: Status | undefined,
  selection: Selection,
): Promise<void> {
  if (!status?.targets.length) {
    void vscode.window.showInformationMessage(
      "Handlens: this file has no target. “Handlens: Declare a target” adds one.",
    );
    return;
  }
  const current = selection.of(status);
  const picked = await vscode.window.showQuickPick(
    status.targets.map((target) => ({
      label: `${target === current ? "$(check)" : "$(blank)"} ${target.name}`,
      description: described(target),
      target,
    })),
    { title: "Select target", placeHolder: "The target that status and report are about" },
  );
  if (picked) {
    selection.select(status.uri, picked.target.name);
    await goTo(vscode.Uri.parse(status.uri), picked.target);
  }
}

function described(target: TargetStatus): string {
  const where = target.kind === "configured" ? "in pyproject.toml" : target.kind;
  const states: Partial<Record<TargetStatus["state"], string>> = {
    idle: "not compared yet",
    running: "running …",
    failed: "failed",
  };
  return `${where} · ${states[target.state] ?? accuracy(target)}`;
}

async function goTo(uri: vscode.Uri, { range }: TargetStatus): Promise<void> {
  // The range is one of the notebook's whole text, and not of a cell.
  if (range === null || activeDocument()?.uri.toString() !== uri.toString()) {
    return;
  }
  const { start, end } = range;
  await vscode.window.showTextDocument(uri, {
    selection: new vscode.Range(start.line, start.character, end.line, end.character),
  });
}
