import * as vscode from "vscode";
import type { Location } from "vscode-languageclient";

/**
 * Shows an expression in an editor and selects it. Returns the document and the selection.
 *
 * An editor that shows the file already is used wherever it is; else the group that the user last edited
 * in, never the one with the report in it: that would hide what was clicked on.
 */
export async function openSource(
  location: Location,
  panel: vscode.WebviewPanel,
  focus: boolean,
): Promise<{ uri: string; selection: vscode.Selection }> {
  const uri = vscode.Uri.parse(location.uri, true);
  const { start, end } = location.range;
  const range = new vscode.Range(start.line, start.character, end.line, end.character);
  const editor = await vscode.window.showTextDocument(uri, {
    viewColumn: columnFor(uri, panel),
    preserveFocus: !focus,
    preview: true,
    selection: range,
  });
  editor.revealRange(range, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
  return { uri: uri.toString(), selection: editor.selection };
}

function columnFor(uri: vscode.Uri, panel: vscode.WebviewPanel): vscode.ViewColumn {
  const beside = vscode.window.visibleTextEditors.filter(
    (editor) => editor.viewColumn !== undefined && editor.viewColumn !== panel.viewColumn,
  );
  const showing = beside.find((editor) => editor.document.uri.toString() === uri.toString());
  const open = vscode.window.tabGroups.all.find(
    (group) =>
      group.viewColumn !== panel.viewColumn &&
      group.tabs.some(
        (tab) =>
          tab.input instanceof vscode.TabInputText && tab.input.uri.toString() === uri.toString(),
      ),
  );
  const column = showing?.viewColumn ?? open?.viewColumn ?? beside[0]?.viewColumn;
  if (column !== undefined) {
    return column;
  }
  // The report is alone: source stands left of it where there is a group, else beside it.
  const other = vscode.window.tabGroups.all.find((group) => group.viewColumn !== panel.viewColumn);
  return other?.viewColumn ?? vscode.ViewColumn.Beside;
}
