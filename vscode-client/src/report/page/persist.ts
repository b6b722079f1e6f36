import type { Remembered } from "../model/network";
import { remember } from "../model/network";
import { WORST_FIRST } from "../model/order";
import type { Filter, Sorting } from "../model/order";
import type { Window } from "../model/scale";
import type { Store, Tab } from "./store";

/** The state that outlives the page: VS Code restores it after the page was hidden, or the window reloaded. */
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

/** The state that an earlier page left. A page of another version may have left less. */
export function restored(state: unknown): Kept {
  return typeof state === "object" && state !== null ? { ...NOTHING, ...state } : NOTHING;
}

// Wait for a pause: zooming changes the state with every frame.
const REST_MS = 150;

/** Saves the state for the next page when it has stopped changing. */
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
    // Without a report, the state of the last one stays saved.
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
