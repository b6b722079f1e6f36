import * as vscode from "vscode";
import { activeDocument, textsOf } from "../documents";
import { DECLARE_TARGET_KIND } from "../protocol";
import type { Server } from "../server";

// A minimal target: docs and hovers explain calibration data and the rest.
const TEMPLATE = `

def handlens_\${1:main}():
    model = \${2:Model}().eval()
    return model, (torch.randn(\${3:1, 3, 224, 224}),)
`;

/** Let the server declare a target for a class of the file, or insert one to be filled in. */
export async function declareTarget(server: Server): Promise<void> {
  const document = activeDocument();
  if (document === undefined) {
    void vscode.window.showInformationMessage(
      "Handlens: open the Python file with the model to declare a target in it.",
    );
    return;
  }
  await server.start();
  const actions = (await Promise.all(textsOf(document).map(offered))).flat();
  const action =
    actions.length > 1
      ? (
          await vscode.window.showQuickPick(
            actions.map((each) => ({ label: each.title, action: each })),
            {
              title: "Declare a target",
              placeHolder: "The model to compare with its quantized form",
            },
          )
        )?.action
      : actions[0];
  if (action) {
    await apply(action);
  } else if (actions.length === 0) {
    await offerTemplate(document);
  }
}

function offered(document: vscode.TextDocument): Thenable<vscode.CodeAction[]> {
  const whole = new vscode.Range(0, 0, document.lineCount, 0);
  return vscode.commands.executeCommand<vscode.CodeAction[]>(
    "vscode.executeCodeActionProvider",
    document.uri,
    whole,
    DECLARE_TARGET_KIND,
  );
}

async function apply({ edit, command }: vscode.CodeAction): Promise<void> {
  if (edit) {
    await vscode.workspace.applyEdit(edit);
    reveal(edit);
  }
  if (command) {
    await vscode.window.withProgress(
      {
        location: vscode.ProgressLocation.Window,
        title: "Handlens: trying what the model runs on",
      },
      () =>
        vscode.commands.executeCommand(
          command.command,
          ...((command.arguments ?? []) as unknown[]),
        ),
    );
  }
}

/** Show the inserted text, which is seldom near the caret. */
function reveal(edit: vscode.WorkspaceEdit): void {
  for (const [uri, [first]] of edit.entries()) {
    const editor = vscode.window.visibleTextEditors.find(
      ({ document }) => document.uri.toString() === uri.toString(),
    );
    if (first && editor) {
      const lines = first.newText.split("\n").length;
      const end = Math.min(first.range.start.line + lines, editor.document.lineCount - 1);
      editor.revealRange(new vscode.Range(first.range.start.line, 0, end, 0));
    }
  }
}

async function offerTemplate(document: vscode.TextDocument): Promise<void> {
  const insert = "Insert a Template";
  const choice = await vscode.window.showInformationMessage(
    "Handlens: there is no model class in this file that needs a target. A target is a function " +
      "handlens_<name>() that takes nothing and returns (model, example_inputs).",
    insert,
    "Show How",
  );
  if (choice === insert) {
    const editor = await vscode.window.showTextDocument(document);
    const end = document.lineAt(document.lineCount - 1).range.end;
    await editor.insertSnippet(new vscode.SnippetString(TEMPLATE), end);
  } else if (choice !== undefined) {
    await vscode.commands.executeCommand(
      "workbench.action.openWalkthrough",
      "handlens.handlens#handlens.start",
    );
  }
}
