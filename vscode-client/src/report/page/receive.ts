import type { ReportData } from "../data";
import type { HostMessage } from "../messages";
import { network, recall, remember } from "../model/network";
import { follow, rescale } from "../model/scale";
import type { Kept } from "./persist";
import { select } from "./select";
import type { Send } from "./select";
import type { Store } from "./store";

/** Handles the messages of the panel. */
export function receive(
  store: Store,
  send: Send,
  message: HostMessage,
  kept: Kept,
  scrolled: { scroll: number },
): void {
  switch (message.type) {
    case "state": {
      const { view } = store.get();
      const other = view && view.target !== message.state.target;
      store.set({ view: message.state, ...(other ? NO_RESULT : {}) });
      return;
    }
    case "report":
      if (message.report) {
        take(store, send, message.report, kept, scrolled);
      } else {
        store.set(NO_RESULT);
      }
      return;
    case "advice":
      store.set({ advice: message.advice });
      return;
    case "detail": {
      const { network: shown, selected } = store.get();
      const current = shown?.ops[selected]?.handle === message.handle;
      if (current && shown.report.generation === message.generation) {
        store.set({ detail: message.detail });
      }
      return;
    }
    case "caret":
      caret(store, send, message.handles, message.moved);
      return;
  }
}

const NO_RESULT = { network: null, advice: null, selected: -1, detail: null, caret: [] };

/** Shows another result, with the same op selected and the same part of the network in view. */
function take(
  store: Store,
  send: Send,
  report: ReportData,
  kept: Kept,
  scrolled: { scroll: number },
): void {
  const { network: before, selected: last, window: seen } = store.get();
  const next = network(report);
  const count = next.ops.length;
  const returning = !before && kept.target === report.target && kept.uri === report.uri;
  const remembered = before ? remember(before, last) : returning ? kept.selected : null;
  const selected = recall(next, remembered);
  const inView = selected >= 0 && last >= seen.from && last < seen.to;
  const all = before && seen.to - seen.from >= before.ops.length;
  const window = before
    ? inView && !all
      ? follow(seen, last, selected, count)
      : rescale(seen, before.ops.length, count)
    : returning && kept.count > 0
      ? rescale(kept.window, kept.count, count)
      : { from: 0, to: count };
  const { scroll } = scrolled;
  // One step, so that no view sees one of them without the other.
  store.set({ network: next, selected, detail: null, caret: [], window });
  scrolled.scroll = before ? scroll : returning ? kept.scroll : 0;
  const op = next.ops[selected];
  if (op) {
    send({ type: "detail", handle: op.handle });
  }
}

/** Marks the ops at the caret. If the user moved it, selects the worst of them unless one is selected. */
function caret(store: Store, send: Send, handles: readonly number[], moved: boolean): void {
  const { network: shown, selected } = store.get();
  if (!shown) {
    return;
  }
  const found = handles
    .map((handle) => shown.byHandle.get(handle))
    .filter((index) => index !== undefined);
  store.set({ caret: found });
  if (moved && found.length > 0 && !found.includes(selected)) {
    const badness = (index: number): number =>
      1000 * (shown.severity[index] ?? 0) - (shown.ops[index]?.sqnr_db ?? 0);
    select(
      store,
      send,
      found.reduce((worst, each) => (badness(each) > badness(worst) ? each : worst)),
    );
  }
}
