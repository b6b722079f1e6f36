/** Makes elements. Text is never HTML, because names of ops and files may be anything. */

type Child = Node | string | null | undefined | false;

export type Attributes = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** An element `tag.class.class` with attributes and children; a false attribute is left out. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  classes = "",
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (classes) {
    element.className = classes;
  }
  apply(element, attributes);
  element.append(...children.filter(isShown));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, tag);
  apply(element, attributes);
  element.append(...children.filter(isShown));
  return element;
}

export function apply(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) {
      element.removeAttribute(name);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
}

export function button(
  classes: string,
  attributes: Attributes,
  act: () => void,
  ...children: Child[]
): HTMLButtonElement {
  const element = el("button", classes, { type: "button", ...attributes }, ...children);
  element.addEventListener("click", act);
  return element;
}

/** Calls `act` once in the next frame, however often this is called before. */
export function framed(act: () => void): () => void {
  let asked = false;
  return () => {
    if (!asked) {
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        act();
      });
    }
  };
}

/** True if the user asked for less motion. */
export function still(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

function isShown(child: Child): child is Node | string {
  return child !== null && child !== undefined && child !== false;
}
