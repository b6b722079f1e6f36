/** What the panel and its page say to each other. */

import type { OpDetail, ReportData, TargetStatus } from "./data";

/** What the page shows beside the numbers. */
export interface ViewState {
  readonly uri: string;
  readonly file: string;
  readonly target: string;
  /** All targets of the document; more than one can be chosen from. */
  readonly targets: readonly string[];
  /** Whether the server has said anything about the document. */
  readonly connected: boolean;
  readonly trusted: boolean;
  readonly problem: string | null;
  readonly status: TargetStatus | null;
}

export type HostMessage =
  | { readonly type: "state"; readonly state: ViewState }
  | { readonly type: "report"; readonly report: ReportData | null }
  | {
      readonly type: "detail";
      readonly generation: number;
      readonly handle: number;
      readonly detail: OpDetail | null;
    }
  /** The ops where the caret is, the innermost expression's. */
  | {
      readonly type: "caret";
      readonly handles: readonly number[];
      /** Whether the user went there: then one of them is what is looked at. */
      readonly moved: boolean;
    };

export const COMMANDS = ["rerun", "cancel", "trust", "log"] as const;
export type Command = (typeof COMMANDS)[number];

export type PageMessage =
  | { readonly type: "ready" }
  | { readonly type: "detail"; readonly handle: number }
  /** Show the source of an op, of the target where it is null, and with `focus` go there. */
  | { readonly type: "open"; readonly handle: number | null; readonly focus: boolean }
  | { readonly type: "target"; readonly name: string }
  | { readonly type: "command"; readonly command: Command };

/** What a page sent, or null if a page of ours cannot have sent it. */
export function pageMessage(value: unknown): PageMessage | null {
  if (typeof value !== "object" || value === null) {
    return null;
  }
  const { type, handle, focus, name, command } = value as Record<string, unknown>;
  switch (type) {
    case "ready":
      return { type };
    case "detail":
      return Number.isSafeInteger(handle) ? { type, handle: handle as number } : null;
    case "open":
      return handle === null || Number.isSafeInteger(handle)
        ? { type, handle: handle as number | null, focus: focus === true }
        : null;
    case "target":
      return typeof name === "string" ? { type, name } : null;
    case "command":
      return COMMANDS.includes(command as Command) ? { type, command: command as Command } : null;
    default:
      return null;
  }
}

/** What says after a reload of the window which report a panel showed. */
export interface Shown {
  readonly uri: string;
  readonly target: string;
}

export function shown(state: unknown): Shown | null {
  if (typeof state !== "object" || state === null) {
    return null;
  }
  const { uri, target } = state as Record<string, unknown>;
  return typeof uri === "string" && typeof target === "string" ? { uri, target } : null;
}
