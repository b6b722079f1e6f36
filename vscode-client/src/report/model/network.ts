import type { FindingData, OpData, ReportData, Severity } from "../data";

/** Ranks of severities, the gravest highest; 0 is no finding at all. */
export const RANKS: Readonly<Record<Severity, number>> = {
  hint: 1,
  information: 2,
  warning: 3,
  error: 4,
};

/**
 * The ops of a report as columns, so that a plot of 10,000 of them reads memory in a row.
 * NaN stands where there is no ratio.
 */
export interface Network {
  readonly report: ReportData;
  readonly ops: readonly OpData[];
  readonly accumulated: Float32Array;
  readonly introduced: Float32Array;
  readonly floor: Float32Array;
  /** The rank of the gravest finding about each op. */
  readonly severity: Uint8Array;
  readonly byHandle: ReadonlyMap<number, number>;
  readonly findings: ReadonlyMap<number, readonly FindingData[]>;
  /** Findings about no op that was compared. */
  readonly remarks: readonly FindingData[];
  /** The ops that findings graver than hints are about, in order. */
  readonly found: readonly number[];
}

export function network(report: ReportData): Network {
  const count = report.ops.length;
  const accumulated = new Float32Array(count);
  const introduced = new Float32Array(count);
  const floor = new Float32Array(count);
  const severity = new Uint8Array(count);
  const byHandle = new Map<number, number>();
  report.ops.forEach((op, index) => {
    accumulated[index] = op.sqnr_db ?? NaN;
    introduced[index] = op.introduced_db ?? NaN;
    floor[index] = op.floor_db ?? NaN;
    byHandle.set(op.handle, index);
  });
  const findings = new Map<number, FindingData[]>();
  const remarks: FindingData[] = [];
  for (const finding of report.findings) {
    const index = finding.handle === null ? undefined : byHandle.get(finding.handle);
    if (index === undefined) {
      remarks.push(finding);
      continue;
    }
    severity[index] = Math.max(severity[index] ?? 0, RANKS[finding.severity]);
    const known = findings.get(index);
    if (known) {
      known.push(finding);
    } else {
      findings.set(index, [finding]);
    }
  }
  for (const each of findings.values()) {
    each.sort((a, b) => RANKS[b.severity] - RANKS[a.severity]);
  }
  const found = [...findings.keys()]
    .filter((index) => (severity[index] ?? 0) > RANKS.hint)
    .sort((a, b) => a - b);
  return {
    report,
    ops: report.ops,
    accumulated,
    introduced,
    floor,
    severity,
    byHandle,
    findings,
    remarks,
    found,
  };
}

/** The name of a rank's severity; null for no finding. */
export function severityOf(rank: number): Severity | null {
  return (Object.keys(RANKS) as Severity[]).find((each) => RANKS[each] === rank) ?? null;
}

/** The next op with a finding in a direction, or the same op where there is none. */
export function nextFinding(network: Network, from: number, direction: 1 | -1): number {
  const { found } = network;
  if (direction > 0) {
    return found.find((index) => index > from) ?? from;
  }
  return found.findLast((index) => index < from) ?? from;
}

/** The identity of an op, by which another run is searched for it. */
export interface Remembered {
  readonly handle: number;
  readonly name: string;
  readonly module: string;
  /** How many ops of the same name and module come before it. */
  readonly instance: number;
}

export function remember(network: Network, index: number): Remembered | null {
  const op = network.ops[index];
  if (!op) {
    return null;
  }
  let instance = 0;
  for (let i = 0; i < index; i++) {
    const each = network.ops[i];
    if (each?.name === op.name && each.module === op.module) {
      instance++;
    }
  }
  return { handle: op.handle, name: op.name, module: op.module, instance };
}

/**
 * The index of a remembered op in the report of another run; −1 if it is gone.
 *
 * A handle identifies an op only while the model stays the same: after an edit another op may have it.
 */
export function recall(network: Network, remembered: Remembered | null): number {
  if (!remembered) {
    return -1;
  }
  const same = (index: number): boolean => {
    const op = network.ops[index];
    return op?.name === remembered.name && op.module === remembered.module;
  };
  const byHandle = network.byHandle.get(remembered.handle);
  if (byHandle !== undefined && same(byHandle)) {
    return byHandle;
  }
  let last = -1;
  let instance = 0;
  for (let index = 0; index < network.ops.length; index++) {
    if (same(index)) {
      last = index;
      if (instance++ === remembered.instance) {
        break;
      }
    }
  }
  return last;
}
