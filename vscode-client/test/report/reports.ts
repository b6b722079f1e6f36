/** Reports as small as a test needs them. */

import type { OpData, ReportData } from "../../src/report/data";

export function op(handle: number, change: Partial<OpData> = {}): OpData {
  return {
    handle,
    name: "conv2d",
    module: "features.0",
    sqnr_db: 30,
    verdict: "ok",
    introduced_db: 40,
    introduced_verdict: "ok",
    in_float: "",
    floor_db: 45,
    line: "x = self.conv(x)",
    place: "model.py:10",
    ...change,
  };
}

export function report(ops: OpData[], change: Partial<ReportData> = {}): ReportData {
  return {
    uri: "file:///model.py",
    target: "handlens_main",
    recipe: "x86",
    generation: 1,
    stale: false,
    batches: 1,
    output: {
      verdict: "ok",
      sqnr_db: 19.5,
      mse: null,
      max_abs_error: null,
      cosine: null,
      reason: "",
      objectives: [],
    },
    verified: null,
    quantized_by: [],
    caveats: [],
    coverage: null,
    timings: {},
    error: null,
    thresholds: { error_db: 10, warning_db: 20, information_db: 30 },
    findings: [],
    ops,
    ...change,
  };
}

export const VERIFIED: NonNullable<ReportData["verified"]> = {
  verdict: "ok",
  text: "reference = model",
  way: "",
  beginning: "",
  sqnr_db: null,
  actual_sqnr_db: null,
  handle: null,
  place: "",
};

/** Numbers that look random and are the same in every run. */
export function numbers(count: number, low: number, high: number): number[] {
  let state = 12345;
  return Array.from({ length: count }, () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return low + (state / 2147483648) * (high - low);
  });
}
