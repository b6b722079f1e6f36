import { count, whole } from "../model/format";
import type { Column } from "../model/order";
import { arrange } from "../model/order";
import { apply, button, el, framed } from "./dom";
import { icon, ICONS } from "./glyphs";
import { ROW, rowOf } from "./row";
import { open, select } from "./select";
import type { Send } from "./select";
import type { Store } from "./store";

const COLUMNS: readonly { by: Column; head: string; title: string; numeric?: true }[] = [
  { by: "severity", head: "", title: "Finding" },
  { by: "order", head: "#", title: "Order in which it runs", numeric: true },
  { by: "op", head: "op", title: "Op" },
  { by: "module", head: "module", title: "Module" },
  { by: "accumulated", head: "accumulated", title: "Accumulated SQNR, dB", numeric: true },
  { by: "introduced", head: "introduced", title: "SQNR of the op by itself, dB", numeric: true },
  { by: "floor", head: "rounding", title: "SQNR of rounding alone, dB", numeric: true },
  { by: "place", head: "source", title: "Source" },
];
/** Rows beyond those in view, so that fast scrolling shows no gaps. */
const SPARE = 6;

/** All ops, the worst first; only the rows in view exist. */
export class OpsTable {
  readonly element = el("section");
  private readonly grid = el("div", "grid", {
    role: "grid",
    tabindex: 0,
    "aria-label": "Ops",
    "aria-describedby": "ops-count",
  });
  private readonly body = el("div", "rows", { role: "rowgroup" });
  private readonly said = el("span", "faint", { id: "ops-count", role: "status" });
  private readonly heads: HTMLElement[];
  private readonly rows = new Map<number, HTMLElement>();
  private shown: Uint32Array = new Uint32Array();
  private readonly render = framed(() => this.renderRows());

  constructor(
    private readonly store: Store,
    private readonly send: Send,
  ) {
    this.heads = COLUMNS.map(({ by, head, title, numeric }) =>
      el(
        "div",
        `cell ${by} ${numeric ? "numeric" : ""}`,
        { role: "columnheader" },
        button(
          "sort",
          { title: `Sort by ${title}`, "aria-label": title },
          () => this.sort(by),
          head,
        ),
      ),
    );
    this.grid.append(
      el("div", "row heads", { role: "row", "aria-rowindex": 1 }, ...this.heads),
      this.body,
    );
    this.element.append(this.filters(), this.grid);
    this.grid.addEventListener("scroll", this.render);
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => {
      const index = this.indexOf(event);
      if (index >= 0) {
        select(store, send, index);
        open(store, send, index, false);
      }
    });
    this.body.addEventListener("dblclick", (event) => open(store, send, this.indexOf(event), true));
    new ResizeObserver(this.render).observe(this.grid);
    store.on(["network", "sorting", "filter"], () => this.arrange());
    store.on(["selected", "caret"], () => this.mark());
    store.on(["selected"], () => this.reveal());
  }

  get scroll(): number {
    return this.grid.scrollTop;
  }

  set scroll(top: number) {
    this.grid.scrollTop = top;
  }

  private filters(): HTMLElement {
    const text = el("input", "filter", {
      type: "search",
      placeholder: "Filter by op, module or source",
      "aria-label": "Filter ops",
      spellcheck: "false",
    });
    text.value = this.store.get().filter.text;
    text.addEventListener("input", () =>
      this.store.set({ filter: { ...this.store.get().filter, text: text.value } }),
    );
    const found = button(
      "toggle",
      { "aria-pressed": String(this.store.get().filter.foundOnly) },
      () => {
        const { filter } = this.store.get();
        this.store.set({ filter: { ...filter, foundOnly: !filter.foundOnly } });
        found.setAttribute("aria-pressed", String(!filter.foundOnly));
      },
      "Findings only",
    );
    return el(
      "div",
      "bar filters",
      {},
      el("span", "search", {}, icon(ICONS.search), text),
      found,
      this.said,
    );
  }

  private sort(by: Column): void {
    const { sorting } = this.store.get();
    const descending = sorting.by === by ? !sorting.descending : by === "severity";
    this.store.set({ sorting: { by, descending } });
    this.grid.scrollTop = 0;
  }

  private arrange(): void {
    const { network, sorting, filter } = this.store.get();
    if (!network) {
      return;
    }
    this.shown = arrange(network, sorting, filter);
    const total = network.ops.length;
    this.said.textContent =
      this.shown.length === total
        ? count(total, "op")
        : `${whole(this.shown.length)} of ${count(total, "op")}`;
    this.grid.setAttribute("aria-rowcount", String(this.shown.length + 1));
    this.body.style.height = `${this.shown.length * ROW}px`;
    COLUMNS.forEach(({ by }, i) => {
      const sorted = by === sorting.by ? (sorting.descending ? "descending" : "ascending") : "none";
      this.heads[i]?.setAttribute("aria-sort", sorted);
    });
    this.clear();
  }

  private clear(): void {
    this.body.replaceChildren();
    this.rows.clear();
    this.render();
  }

  private renderRows(): void {
    const { network } = this.store.get();
    const height = this.grid.clientHeight;
    if (!network || height === 0) {
      return;
    }
    const first = Math.max(0, Math.floor(this.grid.scrollTop / ROW) - SPARE);
    const last = Math.min(
      this.shown.length,
      Math.ceil((this.grid.scrollTop + height) / ROW) + SPARE,
    );
    for (const [at, row] of this.rows) {
      if (at < first || at >= last) {
        row.remove();
        this.rows.delete(at);
      }
    }
    const fresh = document.createDocumentFragment();
    for (let at = first; at < last; at++) {
      const index = this.shown[at] as number;
      if (!this.rows.has(at)) {
        const row = rowOf(network, index, at);
        this.rows.set(at, row);
        fresh.append(row);
      }
    }
    this.body.append(fresh);
    this.mark();
  }

  /** Marks the rows in view that are selected, or at the caret. */
  private mark(): void {
    const { selected, caret } = this.store.get();
    const carets = new Set(caret);
    let active: string | null = null;
    for (const [at, row] of this.rows) {
      const index = this.shown[at] as number;
      row.setAttribute("aria-selected", String(index === selected));
      row.classList.toggle("caret", carets.has(index));
      active = index === selected ? row.id : active;
    }
    apply(this.grid, { "aria-activedescendant": active });
  }

  /** Scrolls just far enough to show the selected row. */
  private reveal(): void {
    const at = this.shown.indexOf(this.store.get().selected);
    const height = this.grid.clientHeight - ROW;
    if (at < 0 || height <= 0) {
      return;
    }
    const top = at * ROW;
    if (top < this.grid.scrollTop) {
      this.grid.scrollTop = top;
    } else if (top + ROW > this.grid.scrollTop + height) {
      this.grid.scrollTop = top + ROW - height;
    }
  }

  private key(event: KeyboardEvent): void {
    const { selected } = this.store.get();
    if (event.target !== this.grid || this.shown.length === 0) {
      return;
    }
    const at = this.shown.indexOf(selected);
    const page = Math.max(1, Math.floor(this.grid.clientHeight / ROW) - 2);
    const steps: Readonly<Record<string, number>> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: this.shown.length - 1,
    };
    const to = steps[event.key];
    if (to !== undefined) {
      const within = Math.min(Math.max(to, 0), this.shown.length - 1);
      select(this.store, this.send, this.shown[within] as number);
    } else if (event.key === "Enter" || event.key === " ") {
      open(this.store, this.send, selected, event.key === "Enter");
    } else {
      return;
    }
    event.preventDefault();
  }

  private indexOf(event: Event): number {
    const row = event.target instanceof Element ? event.target.closest("[data-index]") : null;
    return row instanceof HTMLElement ? Number(row.dataset.index) : -1;
  }
}
