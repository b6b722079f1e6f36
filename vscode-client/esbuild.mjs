// `node esbuild.mjs [--production]` bundles what is shipped, and with `--tests` the unit tests, into out/.

import { existsSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { build } from "esbuild";

const production = process.argv.includes("--production");
const common = {
  bundle: true,
  minify: production,
  sourcemap: production ? false : "linked",
  outdir: "out",
  logLevel: "warning",
};
const node = { ...common, platform: "node", format: "cjs", target: "node20" };

// Only extension.js is loaded with the window; it requires app.js, with the language client in it, once a
// file is open that there is something to do for.
const shipped = [
  { ...node, entryPoints: ["src/extension.ts", "src/app.ts"], external: ["vscode", "./app"] },
];
if (existsSync("src/report/page/main.ts")) {
  shipped.push({
    ...common,
    entryPoints: { report: "src/report/page/main.ts" },
    platform: "browser",
    format: "iife",
    target: "chrome122",
  });
}
const tests = async () => [
  {
    ...node,
    entryPoints: (await readdir("test")).filter((name) => name.endsWith(".test.ts")).map((name) => `test/${name}`),
    outdir: "out/test",
    minify: false,
    sourcemap: "inline",
  },
];

if (production) {
  await rm("out", { recursive: true, force: true });
}
await Promise.all((process.argv.includes("--tests") ? await tests() : shipped).map(build));
