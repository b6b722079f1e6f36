import { STEPS } from "../model/colours";

/** The colours of the theme, in the form that a canvas accepts. */
export interface Inks {
  readonly ground: string;
  readonly text: string;
  readonly faint: string;
  readonly grid: string;
  readonly accumulated: string;
  readonly introduced: string;
  readonly floor: string;
  readonly error: string;
  readonly warning: string;
  readonly information: string;
  readonly focus: string;
  readonly caret: string;
  /** One per step of the heat map. */
  readonly steps: readonly string[];
  /** The colour of text on each step. */
  readonly onSteps: readonly string[];
  readonly font: string;
  /** True for a theme with few colours: shapes get outlines then. */
  readonly contrast: boolean;
}

const NAMES = [
  "ground",
  "text",
  "faint",
  "grid",
  "accumulated",
  "introduced",
  "floor",
  "error",
  "warning",
  "information",
  "focus",
  "caret",
] as const;

/** Reads the colours that report.css derives from the theme; a canvas knows neither variables nor mixes. */
export function readInks(): Inks {
  const probe = document.createElement("span");
  probe.className = "probe";
  document.body.append(probe);
  const style = getComputedStyle(probe);
  const read = (name: string): string => {
    probe.style.color = `var(--hl-${name})`;
    return style.color;
  };
  const named = Object.fromEntries(NAMES.map((name) => [name, read(name)]));
  const steps = Array.from({ length: STEPS + 1 }, (_, each) => read(`s${each}`));
  const font = style.fontFamily;
  probe.remove();
  return {
    ...(named as Record<(typeof NAMES)[number], string>),
    steps,
    onSteps: steps.map((colour) => (darkReads(luminance(colour)) ? "#000000" : "#ffffff")),
    font,
    contrast:
      document.body.classList.contains("vscode-high-contrast") ||
      matchMedia("(forced-colors: active)").matches,
  };
}

/** True if black is more legible than white on a colour. */
function darkReads(luminance: number): boolean {
  return (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05);
}

const canvas = document.createElement("canvas");
canvas.width = canvas.height = 1;
const context = canvas.getContext("2d", { willReadFrequently: true });

/** The relative luminance of any colour that CSS knows (WCAG 2.2). */
function luminance(colour: string): number {
  if (!context) {
    return 0;
  }
  context.clearRect(0, 0, 1, 1);
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = [...context.getImageData(0, 0, 1, 1).data].map((each) => {
    const part = each / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * (red ?? 0) + 0.7152 * (green ?? 0) + 0.0722 * (blue ?? 0);
}

/** Calls `changed` when the theme changes: VS Code then changes class and variables. */
export function onTheme(changed: () => void): void {
  const observer = new MutationObserver(changed);
  observer.observe(document.body, { attributeFilter: ["class", "data-vscode-theme-id"] });
  observer.observe(document.documentElement, { attributeFilter: ["style", "class"] });
  matchMedia("(forced-colors: active)").addEventListener("change", changed);
}
