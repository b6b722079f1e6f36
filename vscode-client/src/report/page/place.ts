import { button } from "./dom";
import { icon, ICONS } from "./glyphs";
import type { Send } from "./select";

/** A link to the source of an op, or without a handle to the target. */
export function placeLink(send: Send, handle: number | null, place: string): HTMLElement | null {
  return place
    ? button(
        "link place",
        { title: "Open the source", "aria-label": `Open source ${place}` },
        () => send({ type: "open", handle, focus: true }),
        icon(ICONS.source),
        place,
      )
    : null;
}
