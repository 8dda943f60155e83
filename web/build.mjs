/** Builds what `sdseg export --to web` puts into its file: `npm run build`, into ../sdseg/export/web/assets. */

import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";
import { gzipSync } from "fflate";

const here = dirname(fileURLToPath(import.meta.url));
const output = process.argv[2] ?? join(here, "..", "sdseg", "export", "web", "assets");
const runtime = join(here, "node_modules", "onnxruntime-web", "dist");

const common = {
  absWorkingDir: here,
  bundle: true,
  charset: "utf8",
  external: ["fs", "path"], // a codec asks for them where it finds itself in Node
  format: "iife",
  loader: { ".wasm": "binary" },
  legalComments: "none", // licences.txt.gz has them whole
  logLevel: "warning",
  minify: true,
  platform: "browser",
  target: ["es2022"],
  write: false,
};

/** Packages whose code esbuild took into a bundle. */
function packagesIn(metafile) {
  const names = Object.keys(metafile.inputs).flatMap((path) => {
    const parts = path.split("node_modules/").at(-1)?.split("/") ?? [];
    if (!path.includes("node_modules/")) return [];
    return [parts[0].startsWith("@") ? `${parts[0]}/${parts[1]}` : parts[0]];
  });
  return new Set(names);
}

async function licenceOf(name) {
  const folder = join(here, "node_modules", name);
  const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const own = join(here, "licences", `${name.replace("/", "+")}.txt`); // of packages that come without their text
  for (const file of [own, ...["LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "license"].map((each) => join(folder, each))]) {
    if (existsSync(file)) return `${name} ${version} (${license})\n\n${(await readFile(file, "utf8")).trim()}\n`;
  }
  throw new Error(`${name} comes without the text of its licence: lay it into licences/`);
}

/** With fflate and no date: the same bytes wherever it is built. */
async function writePacked(name, data) {
  await writeFile(join(output, name), gzipSync(data, { level: 9, mtime: "1980-01-01" }));
}

await mkdir(output, { recursive: true });
const packages = new Set(["onnxruntime-web"]);

/** A bundle of one of src; what it holds of packages is noted, for their licences. */
async function bundled(source, options = {}) {
  const built = await build({ ...common, ...options, entryPoints: [`src/${source}.ts`], metafile: true });
  for (const each of packagesIn(built.metafile)) packages.add(each);
  return built.outputFiles[0].contents;
}

for (const name of ["app", "worker"]) await writeFile(join(output, `${name}.js`), await bundled(name));
await writePacked("viewer.mjs.gz", await bundled("volume/scene", { alias: { zarrita: "./src/volume/no_zarr.ts" }, format: "esm" }));
const style = await build({ ...common, entryPoints: ["src/page.css"] });
await writeFile(join(output, "page.css"), style.outputFiles[0].contents);
await writeFile(join(output, "page.html"), await readFile(join(here, "src", "page.html")));
for (const [source, name] of [
  ["ort.wasm.bundle.min.mjs", "ort.mjs.gz"],
  ["ort-wasm-simd-threaded.wasm", "ort.wasm.gz"],
  ["ort.jspi.bundle.min.mjs", "ort.webgpu.mjs.gz"],
  ["ort-wasm-simd-threaded.jspi.wasm", "ort.webgpu.wasm.gz"],
]) {
  await writePacked(name, await readFile(join(runtime, source)));
}
const licences = await Promise.all([...packages].sort().map(licenceOf));
licences.push(`sdseg (Apache-2.0)\n\n${(await readFile(join(here, "..", "LICENSE"), "utf8")).trim()}\n`);
await writePacked("licences.txt.gz", new TextEncoder().encode(licences.join("\n----\n\n")));
