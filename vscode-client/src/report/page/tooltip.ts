import type { Network } from "../model/network";
import { accumulated, introduced } from "../model/format";
import { severityOf } from "../model/network";
import { el } from "./dom";
import { glyph } from "./glyphs";

/** The text beside the pointer. Screen readers skip it: the live region has the same about the selection. */
export class Tooltip {
  private readonly element = el("div", "tooltip", { "aria-hidden": "true", hidden: true });

  constructor() {
    document.body.append(this.element);
  }

  op(network: Network, index: number, x: number, y: number): void {
    const op = network.ops[index];
    if (!op) {
      this.hide();
      return;
    }
    const [finding] = network.findings.get(index) ?? [];
    const severity = severityOf(network.severity[index] ?? 0);
    this.show(
      x,
      y,
      el(
        "div",
        "tooltip-title",
        {},
        severity && glyph(severity),
        el("strong", "", {}, op.name),
        el("code", "", {}, op.module),
      ),
      el(
        "div",
        "tooltip-numbers",
        {},
        el("span", "key-accumulated", {}, accumulated(op)),
        el("span", "key-introduced", {}, introduced(op)),
      ),
      finding ? el("div", "tooltip-finding", {}, finding.message) : null,
      op.in_float ? el("div", "faint", {}, op.in_float) : null,
      op.line ? el("code", "tooltip-line", {}, op.line) : null,
      el("div", "faint", {}, op.place),
    );
  }

  text(title: string, more: string, x: number, y: number): void {
    this.show(x, y, el("strong", "", {}, title), el("div", "faint", {}, more));
  }

  hide(): void {
    this.element.hidden = true;
  }

  private show(x: number, y: number, ...children: (Node | null)[]): void {
    this.element.replaceChildren(...children.filter((each) => each !== null));
    this.element.hidden = false;
    const { offsetWidth, offsetHeight } = this.element;
    const left = x + 14 + offsetWidth > innerWidth ? x - 14 - offsetWidth : x + 14;
    const top = y + 14 + offsetHeight > innerHeight ? y - 10 - offsetHeight : y + 14;
    this.element.style.transform = `translate(${Math.max(4, Math.round(left))}px, ${Math.max(4, Math.round(top))}px)`;
  }
}
