/** The parts of the protocol that the report view shows, by the names it uses for them. */

import type { OpDetail, ReportData } from "../protocol";

export type {
  LeftData,
  OpData,
  OpDetail,
  ReportData,
  Severity,
  Status,
  TargetStatus,
  Verdict,
  Verified,
} from "../protocol";

export type FindingData = ReportData["findings"][number];
export type Coverage = NonNullable<ReportData["coverage"]>;
export type Histogram = NonNullable<OpDetail["errors"]>;
