/** Puts the status of a document into words. */

import type { AdviceStatus, Severity, Status, TargetStatus } from "./protocol";
import { fixed, ratio } from "./report/model/format";

export interface StatusText {
  text: string;
  detail: string;
  severity: "information" | "warning" | "error";
  busy: boolean;
  /** The effect of a click. */
  action: "menu" | "interpreter" | "declare" | "trust" | "restart" | "rerun";
}

export type ServerState =
  { kind: "off" | "starting" | "running" } | { kind: "failed"; problem: string };

/** All that is known about the document that the user is at. */
export interface Known {
  server: ServerState;
  status: Status | undefined;
  /** The target that is selected; undefined if there is none. */
  target: TargetStatus | undefined;
  /** The file that declares the target, if that is another one than the document. */
  measuredBy: string | undefined;
  /** True if the document is about PyTorch. */
  isRelevant: boolean;
}

/** Runs that take longer tell how long. */
const LONG_S = 10;

/** The text about a document. */
export function describe(known: Known, now: Date): StatusText {
  const { server, status, target, measuredBy, isRelevant } = known;
  if (server.kind === "failed") {
    return said("Handlens stopped", server.problem, "error", "restart");
  }
  if (target === undefined && !isRelevant) {
    return said("Handlens", "no PyTorch model in this file", "information", "menu");
  }
  if (status === undefined) {
    const isStarting = server.kind === "starting";
    const detail = isStarting ? "starting the server" : "waiting for the server";
    return { ...said("Handlens", detail, "information", "menu"), busy: isStarting };
  }
  if (!status.trusted) {
    return said("Handlens is restricted", "workspace not trusted", "warning", "trust");
  }
  if (status.problem !== null) {
    return said("Handlens", status.problem, "error", "interpreter");
  }
  if (target === undefined && status.unreadable !== null) {
    return said("Handlens", status.unreadable, "error", "menu");
  }
  if (target === undefined) {
    return said("Handlens", "no target in this file yet", "information", "declare");
  }
  const name = measuredBy === undefined ? target.name : `${measuredBy} › ${target.name}`;
  return ofTarget(target, name, now);
}

function ofTarget(target: TargetStatus, name: string, now: Date): StatusText {
  switch (target.state) {
    case "idle":
      return said(name, "not compared yet", "information", "rerun");
    case "running": {
      const stage = target.stage_text ?? "comparing";
      const share = !target.percentage ? "" : ` ${target.percentage} %`;
      const time = target.began === null ? "" : lasting(new Date(target.began), now);
      return { ...said(name, `${stage}${share} …${time}`, "information", "menu"), busy: true };
    }
    case "failed":
      return said(`${name} failed`, target.error ?? "its output says why", "error", "menu");
    case "ok":
    case "stale": {
      if (target.advice?.state === "searching") {
        const title = `${name} ${accuracy(target)}`;
        return { ...said(title, searching(target.advice), "information", "menu"), busy: true };
      }
      const isStale = target.state === "stale";
      const parts = [
        ...(isStale ? ["stale"] : []),
        ...(target.verified === "differs" ? ["reference ≠ model"] : []),
        ...(target.recipe ? [target.recipe] : []),
        findings(target.findings),
        ...(target.finished ? [ago(new Date(target.finished), now)] : []),
      ];
      const severity =
        target.findings.error > 0
          ? "error"
          : target.findings.warning > 0
            ? "warning"
            : "information";
      return said(`${name} ${accuracy(target)}`, parts.join(" · "), severity, "menu");
    }
  }
}

/** How far the search for what helps is, in words. */
export function searching({ best }: AdviceStatus): string {
  return best ? `what helps: ${best} so far …` : "searching for what helps …";
}

/** The SQNR of the output, and what it was before, or why there is none. */
export function accuracy({
  output,
  previous_db: before,
}: Pick<TargetStatus, "output" | "previous_db">): string {
  if (output === null || (output.verdict === "ok" && output.sqnr_db === null)) {
    return "nothing measured";
  }
  const now = ratio(output.verdict, output.sqnr_db);
  return before === null ? now : `${fixed(before)} → ${now}`;
}

/** Counts errors and warnings; information is counted only if there are none of these. */
function findings({ error, warning, information }: Record<Severity, number>): string {
  const parts = [
    ...(error > 0 ? [plural(error, "error")] : []),
    ...(warning > 0 ? [plural(warning, "warning")] : []),
  ];
  return parts.join(", ") || (information > 0 ? `${information} information` : "no findings");
}

/** How long something has been going on, once that is long. */
function lasting(since: Date, now: Date): string {
  const seconds = Math.floor((now.getTime() - since.getTime()) / 1000);
  if (seconds < LONG_S) {
    return "";
  }
  const minutes = Math.floor(seconds / 60);
  return minutes > 0 ? ` ${minutes} min ${seconds % 60} s` : ` ${seconds} s`;
}

/** The time since a date, in words. */
export function ago(then: Date, now: Date): string {
  const minutes = Math.floor((now.getTime() - then.getTime()) / 60_000);
  if (Number.isNaN(minutes)) {
    return "";
  }
  if (minutes < 1) {
    return "just now";
  }
  if (minutes < 60) {
    return `${minutes} min ago`;
  }
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ago` : `${plural(Math.floor(hours / 24), "day")} ago`;
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

// Text and detail together: VS Code's pop-up is cut off at the edge of the window, and the link to click on
// with it. What is left out is at the top of the menu, and in the log.
const LONGEST = 60;

function shortened(text: string, longest: number): string {
  const line = (text.split("\n", 1)[0] ?? "").replace(DEEP_PATH, "…$1");
  return line.length > longest ? `${line.slice(0, longest - 2).trimEnd()} …` : line;
}

/** A path of which the last two parts say enough. */
const DEEP_PATH = /(?:\/[^\s/:]+)+(\/[^\s/:]+\/[^\s/:]+)/g;

function said(
  text: string,
  detail: string,
  severity: StatusText["severity"],
  action: StatusText["action"],
): StatusText {
  return { text, detail: shortened(detail, LONGEST - text.length), severity, busy: false, action };
}
