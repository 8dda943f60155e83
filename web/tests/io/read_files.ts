/**
 * Reads files as the page does, for tests in Python: `node --import tsx read_files.ts cases.json output/`.
 *
 * The cases are {name: [paths]}; of each, `output/results.json` tells what was found or refused. Arrays lie beside it.
 */

import { readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";

import { fromSlices, millilitresPerVoxel, toSlices } from "../../src/io/geometry.ts";
import { openFiles } from "../../src/io/open.ts";
import { encodeNifti, encodePng } from "../../src/io/save.ts";
import type { Input } from "../../src/io/types.ts";
import { UserMessage } from "../../src/io/types.ts";
import { toRgb8 } from "../../src/io/window.ts";

const PLANES = ["axial", "coronal", "sagittal"] as const;
const [cases, output] = process.argv.slice(2) as [string, string];

/** As a browser gives the files of a folder: with their path below it. */
async function fileOf(path: string): Promise<File> {
  const file = new File([await readFile(path)], basename(path));
  const parts = path.split("/");
  Object.defineProperty(file, "webkitRelativePath", { value: parts.slice(-2).join("/") });
  return file;
}

async function write(name: string, data: ArrayBufferView): Promise<string> {
  await writeFile(join(output, name), new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return name;
}

async function described(input: Input, name: string): Promise<Record<string, unknown>> {
  const { data, notes } = input;
  const common = { kind: input.kind, name: input.name, type: data.constructor.name, notes, data: await write(`${name}.raw`, data) };
  if (input.kind === "image") {
    const { width, height, channels, format } = input;
    const rgb = toRgb8(input);
    const saved = await write(`${name}.png`, encodePng(rgb, { width, height }, 3));
    return { ...common, width, height, channels, format, saved, rgb: await write(`${name}.rgb`, rgb) };
  }
  const planes: Record<string, unknown> = {};
  for (const plane of PLANES) {
    const cut = toSlices(input, plane);
    const slices = Array.from({ length: cut.count }, (_, index) => cut.slice(index));
    const whole = new Float32Array(cut.count * cut.rows * cut.columns);
    slices.forEach((slice, index) => whole.set(slice, index * slice.length));
    // A mask that tells every voxel from those beside it.
    const masks = slices.map((slice, index) => Uint8Array.from(slice, (_, pixel) => (pixel + 7 * index) % 5));
    planes[plane] = {
      shape: [cut.count, cut.rows, cut.columns],
      spacing: cut.spacing,
      data: await write(`${name}.${plane}`, whole),
      saved: await write(`${name}.${plane}.nii.gz`, encodeNifti(input, fromSlices(input, masks, plane))),
    };
  }
  const { shape, spacing, affine, modality } = input;
  return { ...common, shape, spacing, affine, modality, millilitres: millilitresPerVoxel(input), planes };
}

const results: Record<string, unknown> = {};
for (const [name, paths] of Object.entries(JSON.parse(await readFile(cases, "utf8")) as Record<string, string[]>)) {
  try {
    const inputs = await openFiles(await Promise.all(paths.map(fileOf)));
    results[name] = { inputs: await Promise.all(inputs.map((input, index) => described(input, `${name}-${index}`))) };
  } catch (error) {
    if (!(error instanceof UserMessage)) throw error;
    results[name] = { what: error.what, remedy: error.remedy };
  }
}
await writeFile(join(output, "results.json"), JSON.stringify(results));
