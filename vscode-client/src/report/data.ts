/** The parts of the protocol that the report view shows, by the names it uses for them. */

import type { OpDetail, ReportData } from "../protocol";

export type {
  AdviceData,
  LeftData,
  OpData,
  OpDetail,
  ReportData,
  ScoresData,
  Severity,
  Status,
  StepData,
  TargetStatus,
  Verdict,
  Verified,
} from "../protocol";

export type FindingData = ReportData["findings"][number];
export type Coverage = NonNullable<ReportData["coverage"]>;
export type Histogram = NonNullable<OpDetail["errors"]>;
