import type { AdviceData, OpDetail } from "../data";
import type { ViewState } from "../messages";
import type { Network } from "../model/network";
import type { Filter, Sorting } from "../model/order";
import type { Window } from "../model/scale";

export type Tab = "ops" | "blocks" | "op" | "advice" | "coverage";

/** All that the page shows. Views read it, and never each other. */
export interface State {
  /** The panel's last message about document and target; null before the first one. */
  readonly view: ViewState | null;
  readonly network: Network | null;
  readonly advice: AdviceData | null;
  /** The index of the selected op, −1 for none. */
  readonly selected: number;
  /** The server's details of the selected op; null until they arrive. */
  readonly detail: OpDetail | null;
  /** The indices of the ops where the caret is. */
  readonly caret: readonly number[];
  /** The ops in view in the plot. */
  readonly window: Window;
  readonly tab: Tab;
  readonly sorting: Sorting;
  readonly filter: Filter;
}

/** Holds the state, and calls listeners when a part of it changes. */
export class Store {
  private readonly listeners: { keys: readonly (keyof State)[]; listener: () => void }[] = [];

  constructor(private state: State) {}

  get(): State {
    return this.state;
  }

  set(patch: Partial<State>): void {
    const before = this.state;
    this.state = { ...before, ...patch };
    const changed = (Object.keys(patch) as (keyof State)[]).filter(
      (key) => before[key] !== this.state[key],
    );
    for (const { keys, listener } of this.listeners) {
      if (keys.some((key) => changed.includes(key))) {
        listener();
      }
    }
  }

  /** Calls `listener` once per change of any of `keys`. */
  on(keys: readonly (keyof State)[], listener: () => void): void {
    this.listeners.push({ keys, listener });
  }
}
