import { button, el } from "./dom";
import type { Store, Tab } from "./store";

const NAMES: readonly [Tab, string][] = [
  ["ops", "Ops"],
  ["blocks", "Blocks"],
  ["advice", "What helps"],
  ["op", "Selected op"],
  ["coverage", "Coverage and time"],
];

/**
 * Tabs as the ARIA practices have them: one stop for the tab key, arrows between them.
 *
 * Where there is room, the selected op stands beside the others and has no tab (see report.css).
 */
export function tabs(store: Store, panels: Readonly<Record<Tab, HTMLElement>>): HTMLElement {
  const buttons = NAMES.map(([tab, name]) => {
    apply(panels[tab], tab);
    return button(
      `tab tab-${tab}`,
      { role: "tab", id: `tab-${tab}`, "aria-controls": `panel-${tab}` },
      () => store.set({ tab }),
      name,
    );
  });
  const list = el("div", "tabs", { role: "tablist", "aria-label": "Details" }, ...buttons);
  list.addEventListener("keydown", (event) => {
    const shown = buttons.filter((each) => each.offsetParent !== null);
    const at = shown.indexOf(document.activeElement as HTMLButtonElement);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next =
      event.key === "Home"
        ? shown[0]
        : event.key === "End"
          ? shown.at(-1)
          : step && shown[(at + step + shown.length) % shown.length];
    if (next) {
      event.preventDefault();
      next.focus();
      next.click();
    }
  });
  const render = (): void => {
    const { tab } = store.get();
    NAMES.forEach(([each], i) => {
      const chosen = each === tab;
      buttons[i]?.setAttribute("aria-selected", String(chosen));
      buttons[i]?.setAttribute("tabindex", chosen ? "0" : "-1");
      panels[each].classList.toggle("chosen", chosen);
    });
  };
  const wide = matchMedia("(min-width: 820px)");
  const leave = (): void => {
    if (wide.matches && store.get().tab === "op") {
      store.set({ tab: "ops" });
    }
  };
  wide.addEventListener("change", leave);
  store.on(["tab"], () => {
    render();
    leave();
  });
  render();
  return list;
}

function apply(panel: HTMLElement, tab: Tab): void {
  panel.id = `panel-${tab}`;
  panel.classList.add("panel", `panel-${tab}`);
  panel.setAttribute("role", "tabpanel");
  panel.setAttribute("aria-labelledby", `tab-${tab}`);
}
