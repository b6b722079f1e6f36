import { nextFinding } from "../../model/network";
import { clamp, zoom } from "../../model/scale";
import { open, select } from "../select";
import type { Send } from "../select";
import type { Store } from "../store";

const ZOOM = 1.6;
const LEAP = 10;

/** Arrow keys move along the ops, page keys from finding to finding; plus, minus and 0 zoom. */
export function listen(plot: HTMLElement, store: Store, send: Send): void {
  plot.addEventListener("keydown", (event) => {
    const { network, selected } = store.get();
    if (!network || network.ops.length === 0 || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const last = network.ops.length - 1;
    const by = event.shiftKey ? LEAP : 1;
    const to = (index: number): void => select(store, send, Math.min(Math.max(index, 0), last));
    switch (event.key) {
      case "ArrowRight":
      case "ArrowDown":
        to(selected + by);
        break;
      case "ArrowLeft":
      case "ArrowUp":
        to(selected < 0 ? last : selected - by);
        break;
      case "Home":
        to(0);
        break;
      case "End":
        to(last);
        break;
      case "PageDown":
        to(nextFinding(network, selected, 1));
        break;
      case "PageUp":
        to(nextFinding(network, selected < 0 ? last + 1 : selected, -1));
        break;
      case "Enter":
        open(store, send, selected, true);
        break;
      case " ":
        open(store, send, selected, false);
        break;
      case "+":
      case "=":
        zoomBy(store, 1 / ZOOM);
        break;
      case "-":
        zoomBy(store, ZOOM);
        break;
      case "0":
      case "Escape":
        showAll(store);
        break;
      default:
        return;
    }
    event.preventDefault();
  });
}

/** Zooms about the selected op if it is in view, else about the middle. */
export function zoomBy(store: Store, factor: number): void {
  const { network, window, selected } = store.get();
  if (network) {
    const inView = selected >= window.from && selected < window.to;
    const anchor = inView ? selected + 0.5 : (window.from + window.to) / 2;
    store.set({ window: zoom(window, factor, anchor, network.ops.length) });
  }
}

export function showAll(store: Store): void {
  const { network } = store.get();
  if (network) {
    store.set({ window: clamp({ from: 0, to: network.ops.length }, network.ops.length) });
  }
}

export { ZOOM };
