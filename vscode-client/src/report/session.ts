import * as vscode from "vscode";
import type { AdviceData, ReportData, Status } from "./data";
import type { HostMessage, PageMessage, ViewState } from "./messages";
import { pageMessage } from "./messages";
import { fileName } from "../documents";
import { Caret } from "./caret";
import { openSource } from "./navigation";
import type { ReportActions, ReportSource } from "./source";

/** One panel: the report of one document, of one of its targets at a time. */
export class Session implements vscode.Disposable {
  private report: ReportData | null = null;
  /** Which result `report` is, or is about to be. */
  private known: string | undefined;
  private advice: AdviceData | null = null;
  /** Which advice `advice` is, or is about to be. */
  private knownAdvice: string | undefined;
  private loading: vscode.CancellationTokenSource | undefined;
  private asking: vscode.CancellationTokenSource | undefined;
  private detail: vscode.CancellationTokenSource | undefined;
  private ready = false;
  private readonly caret: Caret;
  private readonly subscriptions: vscode.Disposable[];

  constructor(
    readonly panel: vscode.WebviewPanel,
    readonly uri: string,
    private target: string | undefined,
    private readonly source: ReportSource,
    private readonly actions: ReportActions,
  ) {
    this.caret = new Caret(source, (where, ops, moved) => this.highlight(where, ops, moved));
    this.subscriptions = [
      this.caret,
      panel.webview.onDidReceiveMessage((value: unknown) => {
        const message = pageMessage(value);
        if (message) {
          void this.receive(message);
        }
      }),
      source.onDidChange((status) => {
        // The server may write a uri in another way than the editor.
        if (vscode.Uri.parse(status.uri).toString() === uri) {
          this.update();
        }
      }),
    ];
    this.update();
    if (!source.status(uri)) {
      // After a reload of the window, no editor may have the document: open it, so that the server knows it.
      vscode.workspace.openTextDocument(vscode.Uri.parse(uri)).then(undefined, () => {
        // The file is gone and has no report; the view still says that it waits.
      });
    }
  }

  dispose(): void {
    this.loading?.cancel();
    this.asking?.cancel();
    this.detail?.cancel();
    vscode.Disposable.from(...this.subscriptions).dispose();
  }

  show(target: string | undefined): void {
    if (target !== undefined) {
      this.select(target);
    }
    this.panel.reveal(undefined, true);
  }

  /** Shows another target of the document. */
  select(target: string): void {
    if (target !== this.target) {
      this.choose(target);
    }
  }

  private choose(target: string): void {
    this.target = target;
    this.report = null;
    this.advice = null;
    this.known = this.knownAdvice = undefined;
    this.update();
  }

  private update(): void {
    const status = this.source.status(this.uri);
    const state = this.state(status);
    this.panel.title = state.target ? `Accuracy: ${state.target}` : `Accuracy: ${state.file}`;
    this.post({ type: "state", state });
    const each = state.status;
    if (!each || each.state === "running") {
      return;
    }
    const result = `${state.target} ${each.generation} ${each.state === "stale"}`;
    // Numbers change with the end of a run, and with an edit that makes them stale; findings, when the
    // advice is there that withdraws some.
    const known = `${result} ${each.advice?.state === "done"}`;
    if (known !== this.known) {
      this.known = known;
      void this.load(state.target);
    }
    const knownAdvice = `${result} ${each.advice?.state} ${each.advice?.measurements}`;
    if (knownAdvice !== this.knownAdvice) {
      this.knownAdvice = knownAdvice;
      void this.loadAdvice(state.target);
    }
  }

  private state(status: Status | undefined): ViewState {
    const targets = status?.targets.map((each) => each.name) ?? [];
    const target =
      this.target !== undefined && (targets.includes(this.target) || targets.length === 0)
        ? this.target
        : (targets[0] ?? "");
    return {
      uri: this.uri,
      file: fileName(this.uri),
      target,
      targets,
      connected: status !== undefined,
      trusted: status?.trusted ?? vscode.workspace.isTrusted,
      problem: status?.problem ?? null,
      status: status?.targets.find((each) => each.name === target) ?? null,
    };
  }

  private async load(target: string): Promise<void> {
    this.loading?.cancel();
    const request = new vscode.CancellationTokenSource();
    this.loading = request;
    try {
      const report = await this.source.report(this.uri, target, request.token);
      if (!request.token.isCancellationRequested) {
        this.report = report;
        this.post({ type: "report", report });
        this.caret.refresh();
      }
    } catch {
      // The server is starting or stopping, or cancelled the request: ask again with its next status.
      if (this.loading === request) {
        this.known = undefined;
      }
    } finally {
      request.dispose();
    }
  }

  private async loadAdvice(target: string): Promise<void> {
    this.asking?.cancel();
    const request = new vscode.CancellationTokenSource();
    this.asking = request;
    try {
      const advice = await this.source.advice(this.uri, target, request.token);
      if (!request.token.isCancellationRequested) {
        this.advice = advice;
        this.post({ type: "advice", advice });
      }
    } catch {
      if (this.asking === request) {
        this.knownAdvice = undefined;
      }
    } finally {
      request.dispose();
    }
  }

  private async receive(message: PageMessage): Promise<void> {
    switch (message.type) {
      case "ready":
        // VS Code discards a hidden page: the new one starts with the state that is held here.
        this.ready = true;
        this.post({ type: "state", state: this.state(this.source.status(this.uri)) });
        if (this.report) {
          this.post({ type: "report", report: this.report });
        }
        this.post({ type: "advice", advice: this.advice });
        this.caret.refresh();
        return;
      case "target":
        this.choose(message.name);
        return void this.actions.select(this.uri, message.name);
      case "apply":
        return void this.actions.applyAdvice(this.uri, this.report?.target ?? "", message.steps);
      case "detail":
        return this.sendDetail(message.handle);
      case "open":
        return this.open(message.handle, message.focus);
      case "command":
        switch (message.command) {
          case "rerun":
            return void this.actions.rerun(this.uri);
          case "cancel":
            return void this.actions.cancel(this.uri);
          case "advise":
            return void this.actions.advise(this.uri);
          case "log":
            return void this.actions.showLog();
          case "trust":
            return void vscode.commands.executeCommand("workbench.trust.manage");
        }
    }
  }

  private async sendDetail(handle: number): Promise<void> {
    this.detail?.cancel();
    const request = new vscode.CancellationTokenSource();
    this.detail = request;
    const { report } = this;
    if (!report) {
      return;
    }
    try {
      const detail = await this.source.op(this.uri, report.target, handle, request.token);
      if (!request.token.isCancellationRequested) {
        this.post({ type: "detail", generation: report.generation, handle, detail });
      }
    } catch {
      // The page still shows what the report says about the op.
    } finally {
      request.dispose();
    }
  }

  private async open(handle: number | null, focus: boolean): Promise<void> {
    if (!this.report) {
      return;
    }
    const cancellation = new vscode.CancellationTokenSource();
    try {
      // Ask now: the text may have been edited since the op was selected.
      const { target } = this.report;
      const location = await this.source.location(this.uri, target, handle, cancellation.token);
      if (!location) {
        void vscode.window.setStatusBarMessage(
          "Handlens: this expression is no longer in the source",
          5000,
        );
        return;
      }
      const { start, end } = location.range;
      const uri = vscode.Uri.parse(location.uri, true).toString();
      this.caret.expect(
        uri,
        new vscode.Selection(start.line, start.character, end.line, end.character),
      );
      await openSource(location, this.panel, focus);
      this.post({ type: "caret", handles: handle === null ? [] : [handle], moved: false });
    } catch (error) {
      void vscode.window.showErrorMessage(`Handlens cannot open the source: ${String(error)}`);
    } finally {
      cancellation.dispose();
    }
  }

  private highlight(
    where: string,
    ops: readonly { readonly target: string; readonly handle: number }[],
    moved: boolean,
  ): void {
    const report = this.report;
    if (!report) {
      return;
    }
    // Two documents may have a target of the same name, and handles are counted from 1 in each.
    const elsewhere = this.source
      .status(where)
      ?.targets.some((each) => each.name === report.target);
    const handles =
      where !== this.uri && elsewhere
        ? []
        : ops.filter((each) => each.target === report.target).map((each) => each.handle);
    this.post({ type: "caret", handles, moved });
  }

  private post(message: HostMessage): void {
    // Nobody listens before the page has asked; a hidden panel gets everything when it is shown again.
    if (this.ready && this.panel.visible) {
      void this.panel.webview.postMessage(message);
    }
  }
}
