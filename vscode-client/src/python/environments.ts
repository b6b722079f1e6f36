/** The interpreters that could run models, and what they have of torch. */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import * as path from "node:path";
import { promisify } from "node:util";

// Starting an interpreter from a slow disk takes seconds; do not wait forever for one that hangs.
const PATIENCE_MS = 15_000;

const FOLDERS = [".venv", "venv", "env", ".env"];

// Metadata alone: importing torch takes seconds.
const ASK = `
import importlib.metadata, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps([sys.executable, "%d.%d" % sys.version_info[:2], version("torch"), version("torchao")]))
`;

export interface Environment {
  /** The path of the interpreter. */
  python: string;
  version: string;
  torch: string | null;
  torchao: string | null;
}

/** The interpreters of virtual environments in a folder. */
export function inFolder(folder: string, exists: (file: string) => boolean = existsSync): string[] {
  const inside = process.platform === "win32" ? ["Scripts", "python.exe"] : ["bin", "python"];
  return FOLDERS.map((name) => path.join(folder, name, ...inside)).filter(exists);
}

/** What interpreters have, those that can run models first. Those that do not answer are left out. */
export async function describe(
  pythons: readonly string[],
  ask: (python: string) => Promise<string> = run,
): Promise<Environment[]> {
  const answers = await Promise.all(
    [...new Set(pythons)].map(async (python) => {
      try {
        return parse(python, await ask(python));
      } catch {
        return undefined;
      }
    }),
  );
  const found = new Map<string, Environment>();
  for (const each of answers) {
    if (each && !found.has(each.python)) {
      found.set(each.python, each);
    }
  }
  return [...found.values()].sort((one, other) => rank(one) - rank(other));
}

/** Whether an interpreter can run models, in words. */
export function said({ version, torch, torchao }: Environment): string {
  if (torch === null) {
    return `Python ${version} · no torch`;
  }
  return `Python ${version} · torch ${torch} · ${torchao === null ? "no torchao" : `torchao ${torchao}`}`;
}

/** Whether an interpreter can run models. */
export function isUsable({ torch, torchao }: Environment): boolean {
  return torch !== null && torchao !== null;
}

/** The command that installs what the interpreter of a problem lacks. */
export function pipCommand(problem: string): string {
  const python = /not installed in (.+?)\.(?:\s|$)/.exec(problem)?.[1] ?? "python";
  const quoted = /\s/.test(python) ? `"${python}"` : python;
  return `${quoted} -m pip install "torch==2.13.*" "torchao==0.18.*"`;
}

/** How a setting names an interpreter: by a path from the folder on, if it is in there. */
export function named(python: string, folder: string | undefined): string {
  const relative = folder === undefined ? python : path.relative(folder, python);
  return relative.startsWith("..") || path.isAbsolute(relative) ? python : relative;
}

function rank(environment: Environment): number {
  return isUsable(environment) ? 0 : environment.torch === null ? 2 : 1;
}

function parse(asked: string, answer: string): Environment {
  const line = answer.trim().split("\n").at(-1) ?? "";
  const [executable, version, torch, torchao] = JSON.parse(line) as [
    string,
    string,
    string | null,
    string | null,
  ];
  // A command is known by the path that it stands for, an environment by that of its own.
  return { python: path.isAbsolute(asked) ? asked : executable, version, torch, torchao };
}

async function run(python: string): Promise<string> {
  const options = { timeout: PATIENCE_MS, windowsHide: true };
  const { stdout } = await promisify(execFile)(python, ["-I", "-c", ASK], options);
  return stdout;
}
