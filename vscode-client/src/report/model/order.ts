import type { Verdict } from "../data";
import type { Network } from "./network";

export type Column =
  "severity" | "order" | "op" | "module" | "accumulated" | "introduced" | "floor" | "place";

export interface Sorting {
  readonly by: Column;
  readonly descending: boolean;
}

/** Sorts ops with findings first, by severity, and the others by their ratio. */
export const WORST_FIRST: Sorting = { by: "severity", descending: true };

export interface Filter {
  /** Words that must all be in an op's name, module, place or line, or in why it is left in float. */
  readonly text: string;
  readonly foundOnly: boolean;
}

/** The ops that a filter leaves, sorted. */
export function arrange(network: Network, sorting: Sorting, filter: Filter): Uint32Array {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  const kept: number[] = [];
  for (let index = 0; index < network.ops.length; index++) {
    if (
      (!filter.foundOnly || (network.severity[index] as number) > 0) &&
      has(network, index, words)
    ) {
      kept.push(index);
    }
  }
  if (sorting.by === "order") {
    if (sorting.descending) {
      kept.reverse();
    }
    return Uint32Array.from(kept);
  }
  const compare = comparison(network, sorting.by);
  const sign = sorting.descending ? -1 : 1;
  return Uint32Array.from(kept.sort((a, b) => sign * compare(a, b) || a - b));
}

function has(network: Network, index: number, words: readonly string[]): boolean {
  const op = network.ops[index];
  if (!op || words.length === 0) {
    return words.length === 0;
  }
  const text = `${op.name}\n${op.module}\n${op.place}\n${op.line}\n${op.in_float}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

// Ops without a ratio are sorted by their verdict: NaN before all others, exact after them.
const BEYOND: Readonly<Record<Verdict, number>> = {
  "non-finite": -Infinity,
  "no-signal": -1e9,
  "not-compared": -1e8,
  ok: 1e9,
  exact: Infinity,
};

function comparison(network: Network, by: Column): (a: number, b: number) => number {
  const { ops } = network;
  const numeric = (key: (index: number) => number) => {
    const keys = Float64Array.from(ops, (_, index) => key(index));
    return (a: number, b: number): number => {
      const left = keys[a] as number;
      const right = keys[b] as number;
      return left === right ? 0 : left < right ? -1 : 1;
    };
  };
  const text = (key: (index: number) => string) => {
    const collator = new Intl.Collator(undefined, { numeric: true });
    return (a: number, b: number): number => collator.compare(key(a), key(b));
  };
  const accumulated = (index: number): number => {
    const op = ops[index];
    return op?.sqnr_db ?? BEYOND[op?.verdict ?? "ok"];
  };
  switch (by) {
    case "severity": {
      const severity = (index: number): number => network.severity[index] as number;
      const low = numeric(accumulated);
      // Descending by severity; among equals the lowest ratio comes first.
      return (a, b) => severity(a) - severity(b) || low(b, a);
    }
    case "accumulated":
      return numeric(accumulated);
    case "introduced":
      return numeric((index) => {
        const op = ops[index];
        return op?.introduced_db ?? BEYOND[op?.introduced_verdict ?? "ok"];
      });
    case "floor":
      return numeric((index) => ops[index]?.floor_db ?? BEYOND.ok);
    case "op":
      return text((index) => ops[index]?.name ?? "");
    case "module":
      return text((index) => ops[index]?.module ?? "");
    case "place":
      return text((index) => ops[index]?.place ?? "");
    case "order":
      return (a, b) => a - b;
  }
}
