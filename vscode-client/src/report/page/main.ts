/** The page of the report view: it makes the state and the views, and connects them to the panel. */

import "./report.css";
import type { HostMessage, PageMessage } from "../messages";
import { sentence } from "../model/format";
import { AdvicePanel } from "./advice";
import { CoveragePanel } from "./coverage";
import { el } from "./dom";
import { Header } from "./header";
import { HeatMap } from "./heatmap";
import { Inspector } from "./inspector";
import { NetworkPlot } from "./network/plot";
import { Notices } from "./notices";
import { receive } from "./receive";
import { keep, restored } from "./persist";
import type { Kept } from "./persist";
import { Store } from "./store";
import { OpsTable } from "./table";
import { tabs } from "./tabs";
import { onTheme } from "./theme";
import { Tooltip } from "./tooltip";

declare function acquireVsCodeApi(): {
  postMessage(message: PageMessage): void;
  getState(): unknown;
  setState(state: Kept): void;
};

const api = acquireVsCodeApi();
const send = (message: PageMessage): void => api.postMessage(message);
const kept = restored(api.getState());
const store = new Store({
  view: null,
  network: null,
  advice: null,
  selected: -1,
  detail: null,
  caret: [],
  window: { from: 0, to: 1 },
  tab: kept.tab,
  sorting: kept.sorting,
  filter: kept.filter,
});

const tooltip = new Tooltip();
const header = new Header(store, send);
const notices = new Notices(store, send);
const network = new NetworkPlot(store, send, tooltip);
const table = new OpsTable(store, send);
const heatmap = new HeatMap(store, send, tooltip);
const inspector = new Inspector(store, send);
const advice = new AdvicePanel(store, send);
const coverage = new CoveragePanel(store, send);

const live = el("p", "visually-hidden", { id: "selected-op", "aria-live": "polite" });
store.on(["selected", "network"], () => {
  const { network: shown, selected } = store.get();
  const op = shown?.ops[selected];
  live.textContent =
    shown && op ? sentence(op, selected, shown.ops.length, shown.findings.get(selected) ?? []) : "";
});
// The plot announces its own value while it has the focus.
network.plot.addEventListener("focus", () => live.setAttribute("aria-live", "off"));
network.plot.addEventListener("blur", () => live.setAttribute("aria-live", "polite"));

document.body.prepend(
  header.element,
  notices.element,
  el(
    "main",
    "",
    {},
    network.element,
    el(
      "div",
      "details",
      {},
      tabs(store, {
        ops: table.element,
        blocks: heatmap.element,
        advice: advice.element,
        op: inspector.element,
        coverage: coverage.element,
      }),
      table.element,
      heatmap.element,
      advice.element,
      coverage.element,
      inspector.element,
    ),
  ),
  live,
);

onTheme(() => network.retheme());
keep(store, kept, table, (state) => api.setState(state));
window.addEventListener("message", ({ data }: MessageEvent<HostMessage>) =>
  receive(store, send, data, kept, table),
);
send({ type: "ready" });
