import type { LeftData } from "../data";

/** Ops that were not compared, or not quantized, for one and the same reason. */
export interface Reason {
  readonly reason: string;
  readonly ops: readonly LeftData[];
}

/** The reasons, the most frequent first. */
export function reasons(left: readonly LeftData[]): Reason[] {
  const groups = new Map<string, LeftData[]>();
  for (const each of left) {
    const group = groups.get(each.reason);
    if (group) {
      group.push(each);
    } else {
      groups.set(each.reason, [each]);
    }
  }
  return [...groups]
    .map(([reason, ops]) => ({ reason, ops }))
    .sort((a, b) => b.ops.length - a.ops.length);
}
