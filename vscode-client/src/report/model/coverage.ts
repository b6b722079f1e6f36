import type { Unmatched } from "../data";

/** What was not compared for one and the same reason. */
export interface Reason {
  readonly reason: string;
  readonly ops: readonly Unmatched[];
}

/** The reasons, the most frequent first. */
export function reasons(unmatched: readonly Unmatched[]): Reason[] {
  const groups = new Map<string, Unmatched[]>();
  for (const each of unmatched) {
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
