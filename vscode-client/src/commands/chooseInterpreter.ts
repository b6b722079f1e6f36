/** Chooses the interpreter that runs the models, among those that are found. */

import * as vscode from "vscode";
import { SECTION } from "../configuration";
import type { ActivePythons } from "../python/extension";
import {
  describe,
  type Environment,
  inFolder,
  isUsable,
  named,
  pipCommand,
  said,
} from "../python/environments";

const SETTING = `${SECTION}.interpreter`;

type Item = vscode.QuickPickItem & { environment?: Environment; act?: () => unknown };

/** Let the user pick an interpreter for the models of a folder. */
export async function chooseInterpreter(
  pythons: ActivePythons,
  uri: vscode.Uri | undefined,
): Promise<void> {
  const folder = folderOf(uri);
  const picked = await vscode.window.showQuickPick<Item>(items(pythons, folder), {
    title: "Python that runs the models",
    placeHolder: "It needs torch and torchao, and no package of Handlens",
  });
  if (picked?.environment) {
    await use(picked.environment.python, folder);
  } else {
    await picked?.act?.();
  }
}

/** Tell why models cannot be run, with what can be done about it. */
export async function tellProblem(
  problem: string,
  pythons: ActivePythons,
  uri: vscode.Uri,
): Promise<void> {
  const folder = folderOf(uri);
  const found = folder ? await describe(inFolder(folder.uri.fsPath)) : [];
  const own = found.find((each) => isUsable(each) && !problem.includes(each.python));
  const choose = "Choose Interpreter …";
  const copy = "Copy pip Command";
  const useOwn = own && folder ? `Use ${named(own.python, folder.uri.fsPath)}` : undefined;
  const choice = await vscode.window.showErrorMessage(
    `Handlens: ${problem}`,
    ...(useOwn === undefined ? [] : [useOwn]),
    choose,
    copy,
  );
  if (choice === choose) {
    await chooseInterpreter(pythons, uri);
  } else if (choice === copy) {
    await vscode.env.clipboard.writeText(pipCommand(problem));
  } else if (choice !== undefined && own) {
    await use(own.python, folder);
  }
}

async function items(
  pythons: ActivePythons,
  folder: vscode.WorkspaceFolder | undefined,
): Promise<Item[]> {
  const inside = folder ? inFolder(folder.uri.fsPath) : [];
  const known = await pythons.known();
  const found = await describe([...inside, ...known, "python3", "python"]);
  return [
    ...found.map((environment) => ({
      label: named(environment.python, folder?.uri.fsPath),
      description: said(environment),
      iconPath: new vscode.ThemeIcon(isUsable(environment) ? "check" : "circle-slash"),
      environment,
    })),
    { label: "", kind: vscode.QuickPickItemKind.Separator },
    {
      label: "Browse …",
      iconPath: new vscode.ThemeIcon("folder-opened"),
      act: () => browse(folder),
    },
    {
      label: "Open the setting",
      description: SETTING,
      iconPath: new vscode.ThemeIcon("gear"),
      act: () => vscode.commands.executeCommand("workbench.action.openSettings", SETTING),
    },
  ];
}

async function browse(folder: vscode.WorkspaceFolder | undefined): Promise<void> {
  const [file] =
    (await vscode.window.showOpenDialog({
      title: "Python",
      openLabel: "Use",
      canSelectMany: false,
    })) ?? [];
  if (file) {
    await use(file.fsPath, folder);
  }
}

async function use(python: string, folder: vscode.WorkspaceFolder | undefined): Promise<void> {
  const settings = vscode.workspace.getConfiguration(SECTION, folder);
  const target = folder
    ? vscode.ConfigurationTarget.WorkspaceFolder
    : vscode.ConfigurationTarget.Global;
  await settings.update("interpreter", named(python, folder?.uri.fsPath), target);
}

function folderOf(uri: vscode.Uri | undefined): vscode.WorkspaceFolder | undefined {
  const own = uri && vscode.workspace.getWorkspaceFolder(uri);
  return own ?? vscode.workspace.workspaceFolders?.[0];
}
