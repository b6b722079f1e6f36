/** The recipes that can be picked: docs/recipes.md says more of each. */

export interface RecipeChoice {
  name: string;
  description: string;
}

export const RECIPES: readonly RecipeChoice[] = [
  { name: "x86", description: "8 bit, static: PyTorch on x86 servers and laptops" },
  { name: "arm", description: "8 bit, static: PyTorch on Arm servers" },
  { name: "xnnpack", description: "8 bit, static: phones, with ExecuTorch" },
  { name: "embedding", description: "8 bit embedding tables" },
  { name: "int8-dynamic", description: "8 bit linear layers, inputs scaled for each token" },
  { name: "int8-weight-only", description: "8 bit weights of linear layers" },
  { name: "int4-weight-only", description: "4 bit weights of linear layers" },
  { name: "bf16", description: "everything in bfloat16" },
  { name: "fp16", description: "everything in float16" },
];

const PART = /^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$/;

/** Says what is wrong with the name of a recipe; undefined if it may be right. */
export function problemOf(recipe: string): string | undefined {
  const parts = recipe.split("+").map((part) => part.trim());
  const wrong = parts.find(
    (part) => !PART.test(part) && !RECIPES.some(({ name }) => name === part),
  );
  if (wrong === undefined) {
    return undefined;
  }
  const names = RECIPES.map(({ name }) => name).join(", ");
  return wrong === ""
    ? 'Name a recipe: "module:callable", or several joined with "+".'
    : `“${wrong}” is neither "module:callable" nor one of ${names}.`;
}
