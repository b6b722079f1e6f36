// `node esbuild.mjs` bundles what is shipped into out/, with `--production` small and without source maps;
// `node esbuild.mjs --tests` bundles the unit tests into out/test/.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
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
const extension = {
  ...node,
  entryPoints: ["src/extension.ts", "src/app.ts"],
  external: ["vscode", "./app"],
  // VS Code's loader takes `require`, where `import` would ask for a file name with its ending.
  supported: { "dynamic-import": false },
};

// The page of the report view runs in a webview.
const report = {
  ...common,
  entryPoints: { report: "src/report/page/main.ts" },
  platform: "browser",
  format: "iife",
  target: "chrome122",
};

const tests = {
  ...node,
  entryPoints: readdirSync("test", { recursive: true })
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => `test/${name}`),
  outbase: "test",
  outdir: "out/test",
  sourcemap: "inline",
};

if (process.argv.includes("--tests")) {
  await rm("out/test", { recursive: true, force: true });
  await Promise.all([build(tests), build({ ...extension, outdir: "out/test/shipped" })]);
} else {
  const built = await Promise.all([
    build({ ...extension, metafile: true }),
    build({ ...report, metafile: true }),
  ]);
  const inputs = built.flatMap(({ metafile }) => Object.keys(metafile.inputs));
  writeFileSync("out/THIRD-PARTY.txt", notices(inputs));
}

/** The licences of the packages that some files belong to, with their texts. */
function notices(files) {
  const folders = new Set(files.map((file) => /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(file)?.[0]));
  folders.delete(undefined);
  const line = "=".repeat(100);
  const texts = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
    const found = readdirSync(folder).filter((each) => /^(licen[cs]e|copying|notice)/i.test(each));
    if (found.length === 0) {
      throw new Error(
        `${name} has no text of its licence; find out what has to be shipped with it`,
      );
    }
    const said = found.map((each) => readFileSync(`${folder}/${each}`, "utf8"));
    return `${line}\n${name} ${version} · ${license}\n${line}\n\n${said.join("\n")}`;
  });
  return `These packages are part of the extension's code. Each is under its own licence.\n\n${texts.join("\n")}`;
}
