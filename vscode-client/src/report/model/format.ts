import type { FindingData, OpData, Verdict } from "../data";

const VERDICTS: Readonly<Record<Verdict, string>> = {
  exact: "exact",
  "no-signal": "no signal",
  "non-finite": "NaN or Inf",
  "not-compared": "not compared",
  ok: "–",
};

/** A ratio as people read it, or why there is none. */
export function ratio(verdict: Verdict, decibels: number | null): string {
  return decibels === null ? VERDICTS[verdict] : db(decibels);
}

/** The accuracy of the quantized model at an op. An op left in float is never called exact. */
export function accumulated(op: OpData): string {
  return op.in_float && op.verdict === "exact" ? "no noise" : ratio(op.verdict, op.sqnr_db);
}

/** The accuracy that an op loses by itself. */
export function introduced(op: OpData): string {
  return op.in_float && op.introduced_verdict === "exact"
    ? "not quantized"
    : ratio(op.introduced_verdict, op.introduced_db);
}

/** Decibels with one decimal and a true minus sign. */
export function db(decibels: number): string {
  return Number.isFinite(decibels) ? `${fixed(decibels)} dB` : "–";
}

/** The number alone, for columns whose head has the unit. */
export function fixed(decibels: number): string {
  return Number.isFinite(decibels)
    ? decibels
        .toFixed(1)
        .replace(/^-(?!0\.0$)/, "−")
        .replace(/^-/, "")
    : "–";
}

export function seconds(value: number): string {
  if (value < 0.0995) {
    return `${Math.round(1000 * value)} ms`;
  }
  if (value < 60) {
    return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  }
  const whole = Math.round(value);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** `1 op`, `10,000 ops`. */
export function count(number: number, noun: string, plural = `${noun}s`): string {
  return `${whole(number)} ${number === 1 ? noun : plural}`;
}

/** A whole number with separators between thousands. */
export function whole(number: number): string {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A number with two significant digits, as at the ends of a histogram. */
export function short(value: number): string {
  if (value === 0) {
    return "0";
  }
  const size = Math.abs(value);
  const text =
    size >= 0.001 && size < 10_000 ? String(Number(value.toPrecision(2))) : value.toExponential(1);
  return text.replace("-", "−").replace("e−", "e-");
}

/** One op in one line, for screen readers. */
export function sentence(
  op: OpData,
  index: number,
  total: number,
  findings: readonly FindingData[],
): string {
  const parts = [
    op.module ? `${op.name} in ${op.module}` : op.name,
    `accumulated ${accumulated(op)}`,
    `introduced ${introduced(op)}`,
    ...(op.in_float ? [op.in_float] : []),
    ...findings.map((each) => `${each.severity}: ${each.message}`),
    ...(op.place ? [op.place] : []),
    `op ${whole(index + 1)} of ${whole(total)}`,
  ];
  return parts.join(", ");
}
