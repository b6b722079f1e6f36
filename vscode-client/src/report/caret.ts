import * as vscode from "vscode";
import type { ReportSource } from "./source";

// Moving through a file asks for the places where the caret rests, not for all on the way.
const REST_MS = 80;

/** Follows the caret and says which ops are where it rests; only the last place counts. */
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

  /** The next selection of a document is one that we make: it says nothing about what the user looks at. */
  expect(uri: string, selection: vscode.Selection): void {
    this.expected = { uri, selection };
    this.stop();
  }

  /** Asks again about where the caret is: the answer may have changed with the results. */
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
    // The view itself being active leaves no editor; what the caret was on stays highlighted.
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
      // A server that is busy, stopped or cancelled us has nothing to highlight.
    } finally {
      request.dispose();
      if (this.request === request) {
        this.request = undefined;
      }
    }
  }
}
