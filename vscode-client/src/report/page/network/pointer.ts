import type { Run } from "../../model/blocks";
import { count, db } from "../../model/format";
import { column, hit } from "../../model/hit";
import { pan, zoom } from "../../model/scale";
import { open, select } from "../select";
import type { Send } from "../select";
import type { Store } from "../store";
import type { Tooltip } from "../tooltip";
import { showAll } from "./keys";
import { upwards } from "./scene";
import type { Scene } from "./scene";

/** The actions of a pointer, beside selecting. */
export interface Effects {
  scene(): Scene | null;
  hover(index: number): void;
  travel(from: number, to: number): void;
}

// A pointer that moved less than this, in pixels, has clicked.
const SLOP = 4;
// Wheels turn by lines or pages on some systems.
const LINE = 16;

type Place =
  | { readonly kind: "op"; readonly index: number }
  | { readonly kind: "module"; readonly run: Run }
  | { readonly kind: "overview" }
  | { readonly kind: "nothing" };

/** Wheel, drag, click and hover on the plot. */
export class Pointer {
  private drag: { x: number; moved: boolean; overview: boolean } | undefined;

  constructor(
    private readonly plot: HTMLElement,
    private readonly store: Store,
    private readonly send: Send,
    private readonly tooltip: Tooltip,
    private readonly effects: Effects,
  ) {
    plot.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    plot.addEventListener("pointerdown", (event) => this.down(event));
    plot.addEventListener("pointermove", (event) => this.move(event));
    plot.addEventListener("pointerup", (event) => this.up(event));
    plot.addEventListener("pointercancel", () => this.end());
    plot.addEventListener("pointerleave", () => this.leave());
    plot.addEventListener("dblclick", (event) => this.double(event));
  }

  private at(event: MouseEvent): { x: number; y: number } {
    const box = this.plot.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  private place(event: MouseEvent): Place {
    const scene = this.effects.scene();
    if (!scene) {
      return { kind: "nothing" };
    }
    const { x, y } = this.at(event);
    const { layout, network, window } = scene;
    const width = layout.right - layout.left;
    if (y >= layout.overview.top - 3) {
      return { kind: window.to - window.from < network.ops.length ? "overview" : "nothing" };
    }
    const lane = layout.lanes.findIndex((band) => y >= band.top - 1 && y <= band.bottom + 1);
    const own = column(x - layout.left, width, window, network.ops.length);
    if (lane >= 0 && lane < layout.lanes.length - 1) {
      const run = scene.lanes[lane]?.find((each) => each.from <= own && own < each.to);
      return run ? { kind: "module", run } : { kind: "nothing" };
    }
    const index =
      lane >= 0
        ? own
        : hit(network, {
            x: x - layout.left,
            y,
            width,
            window,
            pixel: (ratio) => upwards(scene, ratio),
          });
    return index < 0 ? { kind: "nothing" } : { kind: "op", index };
  }

  private wheel(event: WheelEvent): void {
    const scene = this.effects.scene();
    if (!scene) {
      return;
    }
    const { network, window, layout } = scene;
    const size = network.ops.length;
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : LINE;
    const width = layout.right - layout.left;
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      const pixels = (event.deltaX || event.deltaY) * unit;
      event.preventDefault();
      this.store.set({ window: pan(window, (pixels / width) * (window.to - window.from), size) });
      return;
    }
    if (event.deltaY > 0 && window.to - window.from >= size && !event.ctrlKey) {
      // All ops are in view: the wheel scrolls the page.
      return;
    }
    event.preventDefault();
    const factor = Math.exp(event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.0022));
    const anchor =
      window.from + ((this.at(event).x - layout.left) / width) * (window.to - window.from);
    this.store.set({ window: zoom(window, factor, anchor, size) });
  }

  private down(event: PointerEvent): void {
    if (event.button !== 0) {
      return;
    }
    this.plot.setPointerCapture(event.pointerId);
    const overview = this.place(event).kind === "overview";
    this.drag = { x: event.clientX, moved: false, overview };
    if (overview) {
      this.centre(event);
    }
  }

  private move(event: PointerEvent): void {
    const scene = this.effects.scene();
    if (!scene) {
      return;
    }
    const { drag } = this;
    if (!drag) {
      this.hover(event, scene);
      return;
    }
    drag.moved ||= Math.abs(event.clientX - drag.x) > SLOP;
    if (drag.overview) {
      this.centre(event);
    } else if (drag.moved) {
      const { window, layout, network } = scene;
      const scale = (window.to - window.from) / (layout.right - layout.left);
      this.store.set({
        window: pan(window, (drag.x - event.clientX) * scale, network.ops.length),
      });
      drag.x = event.clientX;
      this.plot.classList.add("dragging");
      this.leave();
    }
  }

  private up(event: PointerEvent): void {
    const { drag } = this;
    this.end();
    if (!drag || drag.moved || drag.overview) {
      return;
    }
    // The inspector now shows all that the tooltip says, and the tooltip would cover the selection.
    this.tooltip.hide();
    const place = this.place(event);
    if (place.kind === "op") {
      select(this.store, this.send, place.index);
      open(this.store, this.send, place.index, false);
    } else if (place.kind === "module") {
      this.effects.travel(place.run.from, place.run.to);
    }
  }

  private end(): void {
    this.drag = undefined;
    this.plot.classList.remove("dragging");
  }

  private double(event: MouseEvent): void {
    const place = this.place(event);
    if (place.kind === "op") {
      open(this.store, this.send, place.index, true);
    } else if (place.kind === "overview" || place.kind === "nothing") {
      showAll(this.store);
    }
  }

  private hover(event: PointerEvent, scene: Scene): void {
    const place = this.place(event);
    this.effects.hover(place.kind === "op" ? place.index : -1);
    this.plot.classList.toggle("pointing", place.kind === "op" || place.kind === "module");
    if (place.kind === "op") {
      this.tooltip.op(scene.network, place.index, event.clientX, event.clientY);
    } else if (place.kind === "module") {
      const { run } = place;
      const worst = Number.isNaN(run.introduced) ? "no error" : `introduces ${db(run.introduced)}`;
      this.tooltip.text(
        run.path,
        `${count(run.to - run.from, "op")}, the worst ${worst}`,
        event.clientX,
        event.clientY,
      );
    } else {
      this.tooltip.hide();
    }
  }

  private leave(): void {
    this.effects.hover(-1);
    this.tooltip.hide();
  }

  private centre(event: PointerEvent): void {
    const scene = this.effects.scene();
    if (scene) {
      const { layout, network, window } = scene;
      const share = (this.at(event).x - layout.left) / (layout.right - layout.left);
      const middle = (window.from + window.to) / 2;
      this.store.set({
        window: pan(window, share * network.ops.length - middle, network.ops.length),
      });
    }
  }
}
