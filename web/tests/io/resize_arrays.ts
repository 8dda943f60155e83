/** Resizes arrays as the page does, for tests in Python: `node --import tsx resize_arrays.ts cases.json folder/`. */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Resizable } from "../../src/io/resize.ts";
import { resizeImage, restoreProbability } from "../../src/io/resize.ts";

interface Case {
  readonly name: string; // of the array's file; the result's has `.out` behind it
  readonly type: "uint8" | "int16" | "uint16" | "float32";
  readonly restore: boolean;
  readonly from: readonly [number, number]; // rows, columns
  readonly to: readonly [number, number];
  readonly channels: number;
}

const KINDS = { uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, float32: Float32Array };
const [cases, folder] = process.argv.slice(2) as [string, string];

for (const { name, type, restore, from, to, channels } of JSON.parse(await readFile(cases, "utf8")) as Case[]) {
  const bytes = new Uint8Array(await readFile(join(folder, name)));
  const data: Resizable = new KINDS[type](bytes.buffer);
  const [before, after] = [from, to].map(([height, width]) => ({ width, height })) as [Size, Size];
  const result = restore ? restoreProbability(data as Float32Array, before, after) : resizeImage(data, before, after, channels);
  await writeFile(join(folder, `${name}.out`), new Uint8Array(result.buffer, result.byteOffset, result.byteLength));
}

interface Size {
  readonly width: number;
  readonly height: number;
}
