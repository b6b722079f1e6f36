import type { Remembered } from "../model/network";
import { remember } from "../model/network";
import { WORST_FIRST } from "../model/order";
import type { Filter, Sorting } from "../model/order";
import type { Window } from "../model/scale";
import type { Store, Tab } from "./store";

/** What outlives the page: when it is hidden, and when the window is reloaded. */
export interface Kept {
  readonly uri: string;
  readonly target: string;
  readonly selected: Remembered | null;
  readonly window: Window;
  /** How many ops the window is on. */
  readonly count: number;
  readonly tab: Tab;
  readonly sorting: Sorting;
  readonly filter: Filter;
  readonly scroll: number;
}

const NOTHING: Kept = {
  uri: "",
  target: "",
  selected: null,
  window: { from: 0, to: 0 },
  count: 0,
  tab: "ops",
  sorting: WORST_FIRST,
  filter: { text: "", foundOnly: false },
  scroll: 0,
};

/** What an earlier page left; another version of it may have left less. */
export function restored(state: unknown): Kept {
  return typeof state === "object" && state !== null ? { ...NOTHING, ...state } : NOTHING;
}

// Zooming changes the state with every frame.
const REST_MS = 150;

/** Leaves the state for the next page, whenever it has come to rest. */
export function keep(
  store: Store,
  kept: Kept,
  scrolled: { readonly scroll: number; readonly element: HTMLElement },
  leave: (state: Kept) => void,
): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last = kept;
  const now = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const { view, network, selected, window, tab, sorting, filter } = store.get();
    if (!view) {
      return;
    }
    const { uri, target } = view;
    if (uri !== last.uri || target !== last.target) {
      last = NOTHING;
    }
    // While there is no report, what was seen of the last one is still to be come back to.
    const seen = network && {
      selected: remember(network, selected),
      window,
      count: network.ops.length,
      scroll: scrolled.scroll,
    };
    last = { ...last, ...seen, uri, target, tab, sorting, filter };
    leave(last);
  };
  const soon = (): void => {
    clearTimeout(timer);
    timer = setTimeout(now, REST_MS);
  };
  store.on(["view", "network", "selected", "window", "tab", "sorting", "filter"], soon);
  scrolled.element.addEventListener("scroll", soon, { capture: true });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden" && timer !== undefined) {
      now();
    }
  });
}
