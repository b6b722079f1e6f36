import type { Run } from "../../model/blocks";
import { lanes } from "../../model/blocks";
import { sentence } from "../../model/format";
import { decibels } from "../../model/scale";
import { summary } from "../../model/summary";
import { apply, el, framed, still } from "../dom";
import { zoomTo } from "../select";
import type { Send } from "../select";
import type { Store } from "../store";
import { readInks } from "../theme";
import type { Inks } from "../theme";
import type { Tooltip } from "../tooltip";
import { listen } from "./keys";
import { layout } from "./layout";
import { paint } from "./paint";
import { paintOverlay } from "./overlay";
import { Pointer } from "./pointer";
import type { Scene, Series } from "./scene";
import { toolbar } from "./toolbar";

// How long the plot takes to move to a module that was clicked on.
const TRAVEL_MS = 160;
const LANES = 3;

/**
 * SQNR along the network. For assistive technology it is a slider along the ops: its value is the op that
 * is selected, and a description says what the plot shows as a whole.
 */
export class NetworkPlot {
  readonly element: HTMLElement;
  readonly plot: HTMLElement;
  private readonly base = el("canvas", "", { "aria-hidden": "true" });
  private readonly overlay = el("canvas", "", { "aria-hidden": "true" });
  private readonly description = el("p", "visually-hidden", { id: "network-summary" });
  private readonly repaint = framed(() => this.paint());
  private readonly repaintOverlay = framed(() => this.paintOverlay());
  private modules: readonly (readonly Run[])[] = [];
  private range = { low: 0, high: 40 };
  private inks: Inks = readInks();
  private series: Series = { accumulated: true, introduced: true, floor: true };
  private hovered = -1;
  private size = "";
  private travel = 0;

  constructor(
    private readonly store: Store,
    send: Send,
    tooltip: Tooltip,
  ) {
    this.plot = el(
      "div",
      "plot",
      {
        id: "network-plot",
        tabindex: 0,
        role: "slider",
        "aria-label": "SQNR along the network",
        "aria-orientation": "horizontal",
        "aria-describedby": "network-summary",
        "aria-valuemin": 1,
        "aria-keyshortcuts": "Enter PageUp PageDown Home End + - 0",
      },
      this.base,
      this.overlay,
    );
    this.element = el(
      "section",
      "network",
      { "aria-labelledby": "network-title" },
      toolbar(store, this.series, (series) => {
        this.series = series;
        this.repaint();
        this.repaintOverlay();
      }),
      this.plot,
      this.description,
    );
    listen(this.plot, store, send);
    new Pointer(this.plot, store, send, tooltip, {
      scene: () => this.scene(),
      hover: (index) => {
        if (index !== this.hovered) {
          this.hovered = index;
          this.repaintOverlay();
        }
      },
      travel: (from, to) => this.travelTo(from, to),
    });
    new ResizeObserver(() => {
      if (this.fit()) {
        // Paint at once: a resized canvas is blank, and would flicker until the next frame.
        this.paint();
        this.paintOverlay();
      }
    }).observe(this.plot);
    store.on(["network"], () => this.take());
    store.on(["window"], () => {
      this.repaint();
      this.repaintOverlay();
    });
    store.on(["selected", "caret", "network"], () => {
      this.repaintOverlay();
      this.say();
    });
  }

  /** Paints with the colours of another theme. */
  retheme(): void {
    this.inks = readInks();
    this.repaint();
    this.repaintOverlay();
  }

  private take(): void {
    const { network } = this.store.get();
    if (network) {
      this.modules = lanes(network, LANES);
      this.range = decibels(network.accumulated, network.introduced);
      this.description.textContent = summary(network);
      this.hovered = -1;
      this.repaint();
    }
  }

  private say(): void {
    const { network, selected } = this.store.get();
    const op = network?.ops[selected];
    apply(this.plot, {
      "aria-valuemax": network?.ops.length ?? 0,
      "aria-valuenow": selected + 1,
      "aria-valuetext":
        network && op
          ? sentence(op, selected, network.ops.length, network.findings.get(selected) ?? [])
          : "no op is selected",
    });
  }

  private travelTo(from: number, to: number): void {
    const { network, window: start } = this.store.get();
    if (!network) {
      return;
    }
    const trip = ++this.travel;
    zoomTo(this.store, from, to);
    const end = this.store.get().window;
    if (still()) {
      return;
    }
    this.store.set({ window: start });
    let begun: number | undefined;
    const step = (now: number): void => {
      begun ??= now;
      const share = Math.min(1, (now - begun) / TRAVEL_MS);
      const eased = 1 - (1 - share) ** 3;
      if (trip !== this.travel || this.store.get().network !== network) {
        return;
      }
      this.store.set({
        window: {
          from: start.from + (end.from - start.from) * eased,
          to: start.to + (end.to - start.to) * eased,
        },
      });
      if (share < 1) {
        requestAnimationFrame(step);
      }
    };
    requestAnimationFrame(step);
  }

  private scene(): Scene | null {
    const { network, window } = this.store.get();
    const { clientWidth, clientHeight } = this.plot;
    if (!network || network.ops.length === 0 || clientWidth < 60 || clientHeight < 80) {
      return null;
    }
    return {
      network,
      window,
      lanes: this.modules,
      range: this.range,
      layout: layout(clientWidth, clientHeight, this.modules.length),
      inks: this.inks,
      series: this.series,
    };
  }

  /** Gives the canvas as many pixels as the screen has, for sharp lines. Returns true if it had others. */
  private fit(): boolean {
    const { clientWidth, clientHeight } = this.plot;
    const size = `${clientWidth} ${clientHeight} ${devicePixelRatio}`;
    if (size === this.size || clientWidth === 0) {
      return false;
    }
    this.size = size;
    for (const canvas of [this.base, this.overlay]) {
      canvas.width = Math.round(clientWidth * devicePixelRatio);
      canvas.height = Math.round(clientHeight * devicePixelRatio);
      canvas.style.width = `${clientWidth}px`;
      canvas.style.height = `${clientHeight}px`;
    }
    return true;
  }

  private paint(): void {
    this.fit();
    const scene = this.scene();
    const context = this.base.getContext("2d");
    if (scene && context) {
      context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
      paint(context, scene);
    }
  }

  private paintOverlay(): void {
    const scene = this.scene();
    const context = this.overlay.getContext("2d");
    if (scene && context) {
      const { selected, caret } = this.store.get();
      context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
      paintOverlay(context, scene, { hovered: this.hovered, selected, caret });
    }
  }
}
