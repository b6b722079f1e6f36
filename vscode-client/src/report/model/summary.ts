import { count, db, ratio } from "./format";
import type { Network } from "./network";

/** The text alternative of the network plot, in sentences. */
export function summary(network: Network): string {
  const { report, ops } = network;
  const parts = [`SQNR along ${count(ops.length, "op")}.`];
  if (report.output) {
    parts.push(`Output ${ratio(report.output.verdict, report.output.sqnr_db)}.`);
    parts.push(...report.output.objectives.map(([name, value]) => `${name} ${value}.`));
  }
  if (report.verified) {
    parts.push(`Verified: ${report.verified.text}.`);
  }
  const lowest = (series: Float32Array): number =>
    series.reduce((best, each, i) => (each < (series[best] ?? Infinity) ? i : best), -1);
  for (const [word, series] of [
    ["Accumulated", network.accumulated],
    ["Introduced", network.introduced],
  ] as const) {
    const at = lowest(series);
    const op = ops[at];
    if (op) {
      const module = op.module ? ` in ${op.module}` : "";
      parts.push(`${word} is lowest at ${op.name}${module}: ${db(series[at] as number)}.`);
    }
  }
  const findings = network.report.findings;
  for (const severity of ["error", "warning", "information"] as const) {
    const found = findings.filter((each) => each.severity === severity).length;
    if (found) {
      parts.push(`${count(found, severity, severity === "information" ? severity : undefined)}.`);
    }
  }
  return parts.join(" ");
}
