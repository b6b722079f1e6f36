/** Chooses the Python that runs the server: any from 3.10 on, for its packages come with it. */

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import {
  formatVersion,
  isRecentEnough,
  OLDEST,
  parseVersion,
  PRINT_VERSION,
  type Version,
} from "./version";

// Starting an interpreter from a slow disk takes seconds; do not wait forever for one that hangs.
const PATIENCE_MS = 15_000;

export interface Candidate {
  /** A path, or the name of a command. */
  command: string;
  /** The origin of the choice, for messages. */
  origin: string;
}

/** The sources of a choice. */
export interface Sources {
  /** `handlens.serverInterpreter`; nothing else is tried if it is set. */
  setting: string | undefined;
  /** The interpreter that is active in the Python extension; undefined if there is none or it is not trusted. */
  active: string | undefined;
}

export type Choice =
  | { python: string; version: Version; problem?: undefined }
  | { problem: string; python?: undefined };

/** The candidates, in the order in which they are tried. */
export function candidates({ setting, active }: Sources): Candidate[] {
  if (setting) {
    return [{ command: setting, origin: "handlens.serverInterpreter" }];
  }
  return [
    ...(active ? [{ command: active, origin: "the Python extension" }] : []),
    { command: "python3", origin: "PATH" },
    { command: "python", origin: "PATH" },
  ];
}

/** The first candidate that is recent enough, or one message about why there is none. */
export async function choose(
  sources: Sources,
  ask: (command: string) => Promise<string> = askVersion,
): Promise<Choice> {
  const refused: string[] = [];
  for (const { command, origin } of candidates(sources)) {
    let version: Version | undefined;
    try {
      version = parseVersion(await ask(command));
    } catch (error) {
      refused.push(`${command} (${origin}) does not start: ${reason(error)}`);
      continue;
    }
    if (version && isRecentEnough(version)) {
      return { python: command, version };
    }
    const found = version ? `is Python ${formatVersion(version)}` : "is no Python interpreter";
    refused.push(`${command} (${origin}) ${found}`);
  }
  return {
    problem:
      `Handlens needs Python ${formatVersion(OLDEST)} or newer for its server, and found none: ` +
      `${refused.join("; ")}. Set handlens.serverInterpreter to the path of one; it needs no packages.`,
  };
}

async function askVersion(command: string): Promise<string> {
  const options = { timeout: PATIENCE_MS, windowsHide: true };
  const { stdout } = await promisify(execFile)(command, ["-I", "-c", PRINT_VERSION], options);
  return stdout;
}

function reason(error: unknown): string {
  if (error instanceof Error) {
    const { code, killed } = error as { code?: unknown; killed?: unknown };
    if (code === "ENOENT") {
      return "there is no such file";
    }
    if (killed === true) {
      return `it gave no answer within ${PATIENCE_MS / 1000} s`;
    }
    return error.message.split("\n")[0] ?? error.message;
  }
  return String(error);
}
