/** Decides whether a text is about PyTorch; the server starts with the first one that is. */

const RELEVANT = /\b(torch|torchao|handlens)\b|\bhandlens_\w/;

/** True if a Python text may have a model or a target in it. */
export function isRelevant(text: string): boolean {
  return RELEVANT.test(text);
}
