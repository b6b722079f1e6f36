import * as vscode from "vscode";
import type { ReportSource } from "./source";

// In milliseconds: the server is asked only for places where the caret rests.
const REST_MS = 80;

/** Watches the caret, and tells which ops are at the place where it rests. */
export class Caret implements vscode.Disposable {
  private timer: NodeJS.Timeout | undefined;
  private request: vscode.CancellationTokenSource | undefined;
  private expected: { uri: string; selection: vscode.Selection } | undefined;
  private readonly subscriptions: vscode.Disposable[];

  constructor(
    private readonly source: ReportSource,
    private readonly found: (
      uri: string,
      ops: readonly { readonly target: string; readonly handle: number }[],
      moved: boolean,
    ) => void,
  ) {
    this.subscriptions = [
      vscode.window.onDidChangeTextEditorSelection(({ textEditor }) => {
        if (textEditor === vscode.window.activeTextEditor || this.isExpected(textEditor)) {
          this.follow(textEditor, true);
        }
      }),
      vscode.window.onDidChangeActiveTextEditor((editor) => this.follow(editor, true)),
    ];
    this.refresh();
  }

  /** Marks the next selection of a document as our own, which says nothing about the user. */
  expect(uri: string, selection: vscode.Selection): void {
    this.expected = { uri, selection };
    this.stop();
  }

  /** Asks again about the place of the caret: other results may have other ops there. */
  refresh(): void {
    this.follow(vscode.window.activeTextEditor, false);
  }

  dispose(): void {
    this.stop();
    vscode.Disposable.from(...this.subscriptions).dispose();
  }

  private isExpected(editor: vscode.TextEditor): boolean {
    return (
      this.expected?.uri === editor.document.uri.toString() &&
      this.expected.selection.isEqual(editor.selection)
    );
  }

  private stop(): void {
    clearTimeout(this.timer);
    this.request?.cancel();
    this.request = undefined;
  }

  private follow(editor: vscode.TextEditor | undefined, moved: boolean): void {
    // There is no editor while the view itself is active: its highlights stay.
    if (!editor || this.isExpected(editor)) {
      return;
    }
    this.expected = undefined;
    this.stop();
    this.timer = setTimeout(() => void this.ask(editor, moved), REST_MS);
  }

  private async ask(editor: vscode.TextEditor, moved: boolean): Promise<void> {
    const request = new vscode.CancellationTokenSource();
    this.request = request;
    const { document, selection } = editor;
    const uri = document.uri.toString();
    try {
      const ops =
        document.languageId === "python"
          ? await this.source.opsAt(uri, selection.active, request.token)
          : [];
      if (!request.token.isCancellationRequested) {
        this.found(uri, ops, moved);
      }
    } catch {
      // No answer, because the server is busy or stopped, or cancelled the request: highlight nothing.
    } finally {
      request.dispose();
      if (this.request === request) {
        this.request = undefined;
      }
    }
  }
}
