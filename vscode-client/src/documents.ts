/** Finds the document that the user is at. */

import * as vscode from "vscode";

export const SELECTOR: vscode.DocumentFilter[] = [
  { scheme: "file", language: "python" },
  { scheme: "untitled", language: "python" },
  { notebookType: "*", language: "python" },
];

const CELL_SCHEME = "vscode-notebook-cell";

/** The uri of a document for the server: for a cell, that of its notebook. */
export function ownerOf(document: vscode.TextDocument): vscode.Uri {
  if (document.uri.scheme !== CELL_SCHEME) {
    return document.uri;
  }
  return notebookOf(document)?.uri ?? document.uri;
}

/** The Python document that the user is at, or was before another view took the focus. */
export function activeDocument(): vscode.TextDocument | undefined {
  const { activeTextEditor, visibleTextEditors } = vscode.window;
  if (activeTextEditor) {
    return isPython(activeTextEditor.document) ? activeTextEditor.document : undefined;
  }
  return visibleTextEditors.map(({ document }) => document).find(isPython);
}

/** The last part of the path in a uri. */
export function fileName(uri: string): string {
  return vscode.Uri.parse(uri).path.split("/").pop() ?? uri;
}

/** The texts of a document: its own, or those of its notebook's Python cells. */
export function textsOf(document: vscode.TextDocument): vscode.TextDocument[] {
  const notebook = document.uri.scheme === CELL_SCHEME ? notebookOf(document) : undefined;
  return notebook
    ? notebook
        .getCells()
        .map((cell) => cell.document)
        .filter(isPython)
    : [document];
}

function isPython({ languageId }: vscode.TextDocument): boolean {
  return languageId === "python";
}

function notebookOf(cell: vscode.TextDocument): vscode.NotebookDocument | undefined {
  return vscode.workspace.notebookDocuments.find((notebook) =>
    notebook.getCells().some(({ document }) => document === cell),
  );
}
