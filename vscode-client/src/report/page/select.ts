import type { PageMessage } from "../messages";
import { clamp, reveal } from "../model/scale";
import type { Store } from "./store";

export type Send = (message: PageMessage) => void;

// A held arrow key passes many ops: the server is asked only about the last one.
const REST_MS = 60;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Selects an op, brings it into view in the plot, and asks for its details. */
export function select(store: Store, send: Send, index: number): void {
  const { network, window, selected, detail } = store.get();
  const op = network?.ops[index];
  if (!network || !op) {
    return;
  }
  if (index !== selected || detail?.handle !== op.handle) {
    store.set({
      selected: index,
      detail: index === selected ? detail : null,
      window: reveal(window, index, network.ops.length),
    });
    clearTimeout(timer);
    timer = setTimeout(() => send({ type: "detail", handle: op.handle }), REST_MS);
  }
}

/** Shows the source of an op. After a click the focus stays in the view, so that keys work on. */
export function open(store: Store, send: Send, index: number, focus: boolean): void {
  const op = store.get().network?.ops[index];
  if (op) {
    send({ type: "open", handle: op.handle, focus });
  }
}

/** Brings some ops into view in the plot, with a little of what is around them. */
export function zoomTo(store: Store, from: number, to: number): void {
  const { network } = store.get();
  if (network) {
    const margin = (to - from) * 0.05;
    store.set({ window: clamp({ from: from - margin, to: to + margin }, network.ops.length) });
  }
}
