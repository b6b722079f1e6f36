import type { Block, Cell } from "../model/blocks";
import { blocks } from "../model/blocks";
import { LEGEND, NO_RATIO, stepOf } from "../model/colours";
import { count, db, fixed } from "../model/format";
import type { Network } from "../model/network";
import { button, el } from "./dom";
import { open, select, zoomTo } from "./select";
import type { Send } from "./select";
import type { Store } from "./store";
import type { Tooltip } from "./tooltip";

/** The loss that each module's ops introduce, in the order they run: a row per module, a cell per op. */
export class HeatMap {
  readonly element = el("section");
  private built: Network | null = null;
  private cells: HTMLElement[][] = [];
  private shown: readonly Block[] = [];

  constructor(
    private readonly store: Store,
    private readonly send: Send,
    private readonly tooltip: Tooltip,
  ) {
    // Built when it comes into view, after the parts that are seen first.
    store.on(["network", "tab"], () => this.build());
    store.on(["selected", "caret"], () => this.mark());
  }

  private build(): void {
    const { network, tab } = this.store.get();
    if (!network || tab !== "blocks" || this.built === network) {
      return;
    }
    this.built = network;
    this.shown = blocks(network);
    this.cells = [];
    const longest = Math.max(12, ...this.shown.map((each) => each.cells.length));
    const rows = el(
      "tbody",
      "",
      {},
      ...this.shown.map((each, row) => this.row(network, each, row)),
    );
    rows.style.setProperty("--cells", String(longest));
    rows.addEventListener("keydown", (event) => this.key(event));
    rows.addEventListener("click", (event) => this.act(event, false));
    rows.addEventListener("dblclick", (event) => this.act(event, true));
    rows.addEventListener("pointermove", (event) => this.hover(event));
    rows.addEventListener("pointerleave", () => this.tooltip.hide());
    const head = (text: string, numeric = false): HTMLElement =>
      el("th", numeric ? "numeric" : "", { scope: "col" }, text);
    const legend = LEGEND.map((each, i) => el("span", "", {}, el("i", `swatch s${i}`), each));
    this.element.replaceChildren(
      el(
        "div",
        "scroller",
        {},
        el(
          "table",
          "heat",
          { "aria-label": "Introduced loss per block" },
          el(
            "thead",
            "",
            {},
            el(
              "tr",
              "",
              {},
              head("module"),
              head("ops", true),
              head("introduced, min", true),
              head("accumulated, min", true),
              head("each op, coloured by what it introduces"),
            ),
          ),
          rows,
        ),
      ),
      el("div", "bar legend-steps", { "aria-label": "Colours" }, ...legend),
    );
    this.mark();
  }

  private row(network: Network, block: Block, row: number): HTMLElement {
    const cells = block.cells.map((cell, i) => {
      const names = [...new Set(cell.ops.map((each) => network.ops[each]?.name ?? ""))];
      const at = colour(network, cell);
      const worst = NO_RATIO[at] ?? `introduces ${db(cell.introduced)}`;
      return el("span", `heat-cell s${at}`, {
        role: "button",
        tabindex: row === 0 && i === 0 ? 0 : -1,
        "aria-label": `${names.slice(0, 6).join(", ")}: ${worst}`,
        "data-row": row,
        "data-cell": i,
      });
    });
    this.cells.push(cells);
    const from = block.ops[0] ?? 0;
    const to = (block.ops.at(-1) ?? from) + 1;
    const name = block.name || "(the model itself)";
    return el(
      "tr",
      "",
      {},
      el(
        "th",
        "",
        { scope: "row" },
        button(
          "link",
          { title: `Show ${name} in the plot` },
          () => zoomTo(this.store, from, to),
          name,
        ),
      ),
      el("td", "numeric", {}, String(block.ops.length)),
      el(
        "td",
        "numeric",
        {},
        el("i", `swatch s${colour(network, block)}`),
        fixed(block.introduced),
      ),
      el("td", "numeric", {}, fixed(block.accumulated)),
      el(
        "td",
        "",
        {},
        el("div", "heat-cells", { role: "group", "aria-label": `Ops of ${name}` }, ...cells),
      ),
    );
  }

  private mark(): void {
    if (!this.built || this.built !== this.store.get().network) {
      return;
    }
    const { selected, caret } = this.store.get();
    this.shown.forEach((block, row) =>
      block.cells.forEach((cell, i) => {
        const element = this.cells[row]?.[i];
        element?.classList.toggle("selected", cell.ops.includes(selected));
        element?.classList.toggle(
          "caret",
          caret.some((each) => cell.ops.includes(each)),
        );
      }),
    );
  }

  private at(event: Event): { row: number; cell: number } | null {
    const found = event.target instanceof Element ? event.target.closest(".heat-cell") : null;
    return found instanceof HTMLElement
      ? { row: Number(found.dataset.row), cell: Number(found.dataset.cell) }
      : null;
  }

  private act(event: Event, focus: boolean): void {
    const at = this.at(event);
    const cell = at && this.shown[at.row]?.cells[at.cell];
    if (at && cell) {
      this.rove(at.row, at.cell);
      select(this.store, this.send, cell.worst);
      open(this.store, this.send, cell.worst, focus);
    }
  }

  private hover(event: PointerEvent): void {
    const at = this.at(event);
    const cell = at && this.shown[at.row]?.cells[at.cell];
    if (!cell || !this.built) {
      this.tooltip.hide();
    } else if (cell.ops.length === 1) {
      this.tooltip.op(this.built, cell.worst, event.clientX, event.clientY);
    } else {
      const worst = this.built.ops[cell.worst];
      const none = NO_RATIO[colour(this.built, cell)];
      this.tooltip.text(
        count(cell.ops.length, "op"),
        none ?? `the worst: ${worst?.name ?? ""} introduces ${db(cell.introduced)}`,
        event.clientX,
        event.clientY,
      );
    }
  }

  private key(event: KeyboardEvent): void {
    const at = this.at(event);
    if (!at) {
      return;
    }
    const { row, cell } = at;
    const end = (this.cells[row]?.length ?? 1) - 1;
    const places: Readonly<Record<string, readonly [number, number]>> = {
      ArrowRight: [row, cell + 1],
      ArrowLeft: [row, cell - 1],
      ArrowDown: [row + 1, cell],
      ArrowUp: [row - 1, cell],
      Home: [row, 0],
      End: [row, end],
    };
    const to = places[event.key];
    if (to) {
      this.rove(...to);
    } else if (event.key === "Enter" || event.key === " ") {
      this.act(event, event.key === "Enter");
    } else {
      return;
    }
    event.preventDefault();
  }

  /** The tab key stops at a single cell; arrows move the stop to another one. */
  private rove(row: number, cell: number): void {
    const line = this.cells[Math.min(Math.max(row, 0), this.cells.length - 1)];
    const next = line?.[Math.min(Math.max(cell, 0), line.length - 1)];
    if (next) {
      this.element.querySelector(".heat-cell[tabindex='0']")?.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    }
  }
}

function colour(network: Network, cell: Cell | Block): number {
  return stepOf(
    cell.ops.map((each) => network.ops[each]),
    cell.introduced,
  );
}
