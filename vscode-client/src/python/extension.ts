/** What the Python extension has active, where it is installed; its API, as far as it is used here. */

import * as vscode from "vscode";

interface PythonExtension {
  environments: {
    getActiveEnvironmentPath(resource?: vscode.Uri): EnvironmentPath;
    resolveEnvironment(path: EnvironmentPath): Promise<Environment | undefined>;
    onDidChangeActiveEnvironmentPath: vscode.Event<unknown>;
  };
}

interface EnvironmentPath {
  id: string;
  path: string;
}

interface Environment {
  executable: { uri: vscode.Uri | undefined };
}

// It may be busy finding environments. What it says later is taken then.
const PATIENCE_MS = 3000;

/** The interpreters that the Python extension has active, a folder each. */
export class ActivePythons implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  /** Some folder's interpreter is another one now. */
  readonly onDidChange = this.changed.event;
  private api: Promise<PythonExtension | undefined> | undefined;
  private subscription: vscode.Disposable | undefined;
  /** What was answered last, by folder. */
  private readonly known = new Map<string, string | undefined>();

  /** The path of the interpreter for a folder, or for no folder; undefined where it is not known. */
  async of(folder: vscode.Uri | undefined): Promise<string | undefined> {
    const late = new Promise<undefined>((resolve) => {
      setTimeout(() => {
        this.known.set(keyOf(folder), this.known.get(keyOf(folder)));
        resolve(undefined);
      }, PATIENCE_MS);
    });
    return Promise.race([this.look(folder), late]);
  }

  dispose(): void {
    this.subscription?.dispose();
    this.changed.dispose();
  }

  private async look(folder: vscode.Uri | undefined): Promise<string | undefined> {
    const api = await (this.api ??= this.connect());
    const key = keyOf(folder);
    const found = api && (await executable(api, folder));
    const isNews = this.known.has(key) && this.known.get(key) !== found;
    this.known.set(key, found);
    if (isNews) {
      this.changed.fire();
    }
    return found;
  }

  private async connect(): Promise<PythonExtension | undefined> {
    const extension = vscode.extensions.getExtension<PythonExtension>("ms-python.python");
    if (extension === undefined) {
      return undefined;
    }
    try {
      const api = await extension.activate();
      // It tells everything twice: only what differs from what is known is passed on.
      this.subscription = api.environments.onDidChangeActiveEnvironmentPath(() => {
        for (const key of this.known.keys()) {
          void this.look(key ? vscode.Uri.parse(key) : undefined);
        }
      });
      return api;
    } catch {
      // It has said so itself.
      return undefined;
    }
  }
}

function keyOf(folder: vscode.Uri | undefined): string {
  return folder?.toString() ?? "";
}

async function executable(
  api: PythonExtension,
  folder: vscode.Uri | undefined,
): Promise<string | undefined> {
  try {
    const environment = await api.environments.resolveEnvironment(
      api.environments.getActiveEnvironmentPath(folder),
    );
    return environment?.executable.uri?.fsPath;
  } catch {
    return undefined;
  }
}
