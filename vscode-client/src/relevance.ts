/** Whether Handlens has anything to do in a text; until it has, no server is started. */

const RELEVANT = /\b(torch|torchao|handlens)\b|\bhandlens_\w/;

/** Whether a Python text may have a model or a target in it. */
export function isRelevant(text: string): boolean {
  return RELEVANT.test(text);
}
