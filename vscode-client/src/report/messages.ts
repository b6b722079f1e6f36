/** The messages between a panel and its page. */

import type { AdviceData, OpDetail, ReportData, TargetStatus } from "./data";

/** The context that the page shows beside the numbers. */
export interface ViewState {
  readonly uri: string;
  readonly file: string;
  readonly target: string;
  /** All targets of the document; more than one can be chosen from. */
  readonly targets: readonly string[];
  /** True once the server has sent a status of the document. */
  readonly connected: boolean;
  readonly trusted: boolean;
  readonly problem: string | null;
  readonly status: TargetStatus | null;
}

export type HostMessage =
  | { readonly type: "state"; readonly state: ViewState }
  | { readonly type: "report"; readonly report: ReportData | null }
  | { readonly type: "advice"; readonly advice: AdviceData | null }
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
      /** True if the user moved the caret, and so looks at one of these ops. */
      readonly moved: boolean;
    };

export const COMMANDS = ["rerun", "cancel", "advise", "trust", "log"] as const;
export type Command = (typeof COMMANDS)[number];

export type PageMessage =
  | { readonly type: "ready" }
  | { readonly type: "detail"; readonly handle: number }
  /** Show the source of an op, of the target where it is null, and with `focus` go there. */
  | { readonly type: "open"; readonly handle: number | null; readonly focus: boolean }
  | { readonly type: "target"; readonly name: string }
  /** Make the first steps of the advice. */
  | { readonly type: "apply"; readonly steps: number }
  | { readonly type: "command"; readonly command: Command };

/** The message that a page sent; null if it is none of these. */
export function pageMessage(value: unknown): PageMessage | null {
  if (typeof value !== "object" || value === null) {
    return null;
  }
  const { type, handle, focus, name, steps, command } = value as Record<string, unknown>;
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
    case "apply":
      return Number.isSafeInteger(steps) ? { type, steps: steps as number } : null;
    case "command":
      return COMMANDS.includes(command as Command) ? { type, command: command as Command } : null;
    default:
      return null;
  }
}

/** The state of a panel, from which a reload of the window restores its report. */
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
