/** The parts of the protocol that the report view shows, by the names it uses for them. */

import type { OpDetail, ReportData } from "../protocol";

export type {
  OpData,
  OpDetail,
  ReportData,
  Severity,
  Status,
  TargetStatus,
  Verdict,
} from "../protocol";

export type FindingData = ReportData["findings"][number];
export type Coverage = NonNullable<ReportData["coverage"]>;
export type Unmatched = Coverage["unmatched"][number];
export type Histogram = NonNullable<OpDetail["errors"]>;
