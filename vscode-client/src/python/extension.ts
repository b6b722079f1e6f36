/** The interpreter that is active in the Python extension, and the part of its API that is used here. */

import * as vscode from "vscode";

interface PythonExtension {
  environments: {
    known: readonly { path: string }[];
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

// It may still search for environments. Its later answer arrives as a change.
const PATIENCE_MS = 3000;

/** The interpreter that is active in the Python extension, by folder. */
export class ActivePythons implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  /** Fires when the interpreter of a folder has changed. */
  readonly onDidChange = this.changed.event;
  private api: Promise<PythonExtension | undefined> | undefined;
  private subscription: vscode.Disposable | undefined;
  /** The last answer for each folder. */
  private readonly answers = new Map<string, string | undefined>();

  /** The path of the interpreter for a folder, or for no folder; undefined where it is not known. */
  async of(folder: vscode.Uri | undefined): Promise<string | undefined> {
    const late = new Promise<undefined>((resolve) => {
      setTimeout(() => {
        this.answers.set(keyOf(folder), this.answers.get(keyOf(folder)));
        resolve(undefined);
      }, PATIENCE_MS);
    });
    return Promise.race([this.look(folder), late]);
  }

  /** The paths of all interpreters that the Python extension has found so far. */
  async known(): Promise<string[]> {
    const api = await (this.api ??= this.connect());
    return api?.environments.known.map(({ path }) => path) ?? [];
  }

  dispose(): void {
    this.subscription?.dispose();
    this.changed.dispose();
  }

  private async look(folder: vscode.Uri | undefined): Promise<string | undefined> {
    const api = await (this.api ??= this.connect());
    const key = keyOf(folder);
    const found = api && (await executable(api, folder));
    const isNews = this.answers.has(key) && this.answers.get(key) !== found;
    this.answers.set(key, found);
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
      // The Python extension reports each change twice: pass on the first one.
      this.subscription = api.environments.onDidChangeActiveEnvironmentPath(() => {
        for (const key of this.answers.keys()) {
          void this.look(key ? vscode.Uri.parse(key) : undefined);
        }
      });
      return api;
    } catch {
      // The Python extension has told the user itself.
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
