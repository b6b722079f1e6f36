import js from "@eslint/js";
import ts from "typescript-eslint";

export default ts.config(
  { ignores: ["out/", "bundled/", "e2e/", "node_modules/"] },
  js.configs.recommended,
  {
    files: ["**/*.ts"],
    extends: [ts.configs.strictTypeChecked, ts.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // Numbers in messages are meant.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // `() => client.stop()` where the result is of no interest is how callbacks read.
      "@typescript-eslint/no-confusing-void-expression": "off",
      // An interface may have to be filled.
      "@typescript-eslint/no-empty-function": "off",
      // VS Code's own types: whatever can be disposed of is a Disposable.
      "@typescript-eslint/no-unsafe-class-instance-assignment": "off",
      // `as T` for an element that is there says what it is, and `!` is not allowed.
      "@typescript-eslint/non-nullable-type-assertion-style": "off",
      eqeqeq: ["error", "always", { null: "ignore" }],
    },
  },
  {
    files: ["**/*.mjs"],
    languageOptions: { globals: { process: "readonly", console: "readonly" } },
  },
  {
    // node:test's `test` returns a promise that nobody has to wait for.
    files: ["test/**"],
    rules: { "@typescript-eslint/no-floating-promises": "off" },
  },
);
