import * as vscode from "vscode";
import { COMMANDS } from "../commandIds";
import { activeDocument, fileName, ownerOf } from "../documents";
import type { Status, TargetStatus } from "../protocol";

type Item = vscode.QuickPickItem & { command?: string; args?: unknown[] };

/** The menu of the status item: the full text of a problem or a remark, and the actions for the document. */
export async function menu(
  status: Status | undefined,
  target: TargetStatus | undefined,
  extensionId: string,
): Promise<void> {
  const targets = status?.targets ?? [];
  const isRunning = targets.some(({ state }) => state === "running");
  const isSearching = targets.some(({ advice }) => advice && advice.state !== "done");
  const ofTargets: Item[] = [
    isRunning
      ? { label: "$(stop-circle) Cancel", command: COMMANDS.cancel }
      : { label: "$(play) Rerun comparison", command: COMMANDS.rerun },
    isSearching && !isRunning
      ? { label: "$(stop-circle) Cancel the search for what helps", command: COMMANDS.cancel }
      : { label: "$(lightbulb) Find what helps", command: COMMANDS.advise },
    { label: "$(graph-line) Show report", command: COMMANDS.showReport },
    { label: "$(globe) Open report as a page", command: COMMANDS.openReportPage },
    { label: "$(beaker) Compare with another recipe …", command: COMMANDS.compareRecipe },
  ];
  const document = activeDocument();
  const isOther = status !== undefined && document && ownerOf(document).toString() !== status.uri;
  const items: Item[] = [
    ...(targets.length > 0 ? ofTargets : []),
    ...(isOther
      ? [
          {
            label: `$(go-to-file) Go to ${fileName(status.uri)}`,
            command: "vscode.open",
            args: [vscode.Uri.parse(status.uri)],
          },
        ]
      : []),
    ...(targets.length > 1
      ? [{ label: "$(target) Select target …", command: COMMANDS.selectTarget }]
      : []),
    { label: "$(add) Declare a target …", command: COMMANDS.declareTarget },
    { label: "$(server-environment) Choose interpreter …", command: COMMANDS.chooseInterpreter },
    { label: "", kind: vscode.QuickPickItemKind.Separator },
    { label: "$(output) Show log", command: COMMANDS.showLog },
    { label: "$(terminal) Show output of models", command: COMMANDS.showModelOutput },
    {
      label: "$(gear) Settings",
      command: "workbench.action.openSettings",
      args: [`@ext:${extensionId}`],
    },
    { label: "$(debug-restart) Restart", command: COMMANDS.restart },
  ];
  const picked = await vscode.window.showQuickPick(items, {
    title: "Handlens",
    placeHolder: status?.problem ?? target?.error ?? status?.remarks[0] ?? "What to do",
  });
  if (picked?.command) {
    await vscode.commands.executeCommand(picked.command, ...(picked.args ?? []));
  }
}
