import * as vscode from "vscode";
import { SECTION } from "../configuration";
import { activeDocument, ownerOf } from "../documents";
import { problemOf, RECIPES } from "../recipes";

const KEY = "recipe";

type Item = vscode.QuickPickItem & { choice?: string | null };

/** Let the user pick the recipe for this folder; the server then runs the targets with it. */
export async function compareRecipe(): Promise<void> {
  const document = activeDocument();
  const resource = document && ownerOf(document);
  const configuration = vscode.workspace.getConfiguration(SECTION, resource);
  const current = configuration.get<string>(KEY) ?? "";
  const picked = await vscode.window.showQuickPick(items(current), {
    title: "Compare with another recipe",
    placeHolder: current ? `Now: ${current}` : "Now: the target's own",
    matchOnDescription: true,
  });
  const recipe = picked?.choice === undefined ? picked && (await typedIn(current)) : picked.choice;
  if (recipe === null) {
    await remove(configuration);
  } else if (recipe !== undefined) {
    await configuration.update(KEY, recipe, target(resource));
  }
}

function items(current: string): Item[] {
  const isListed = current === "" || RECIPES.some(({ name }) => name === current);
  const mark = (isCurrent: boolean): string => (isCurrent ? "$(check)" : "$(blank)");
  return [
    ...RECIPES.map(({ name, description }) => ({
      label: `${mark(name === current)} ${name}`,
      description,
      choice: name,
    })),
    { label: "", kind: vscode.QuickPickItemKind.Separator },
    {
      label: `${mark(!isListed)} module:callable …`,
      description: isListed ? "a quantizer of your own, or several recipes joined with +" : current,
    },
    {
      label: `${mark(current === "")} The target's own`,
      description: "what the target, the project or the default says",
      choice: null,
    },
  ];
}

async function typedIn(current: string): Promise<string | undefined> {
  const typed = await vscode.window.showInputBox({
    title: "Compare with another recipe",
    prompt: "A callable that returns a torchao Quantizer, or recipes joined with +",
    placeHolder: "mypackage.quantizers:attention+x86",
    value: current,
    validateInput: problemOf,
  });
  return typed?.trim();
}

/** The scope in which to save a choice for a document: the nearest one that has settings. */
function target(resource: vscode.Uri | undefined): vscode.ConfigurationTarget {
  const { workspaceFolders, workspaceFile, getWorkspaceFolder } = vscode.workspace;
  if (!workspaceFolders?.length) {
    return vscode.ConfigurationTarget.Global;
  }
  return workspaceFile && resource && getWorkspaceFolder(resource)
    ? vscode.ConfigurationTarget.WorkspaceFolder
    : vscode.ConfigurationTarget.Workspace;
}

/** Remove the setting from all scopes: one that stays would override the target's own recipe. */
async function remove(configuration: vscode.WorkspaceConfiguration): Promise<void> {
  const set = configuration.inspect(KEY);
  const places = [
    [set?.workspaceFolderValue, vscode.ConfigurationTarget.WorkspaceFolder],
    [set?.workspaceValue, vscode.ConfigurationTarget.Workspace],
    [set?.globalValue, vscode.ConfigurationTarget.Global],
  ] as const;
  for (const [value, place] of places) {
    if (value !== undefined) {
      await configuration.update(KEY, undefined, place);
    }
  }
}
