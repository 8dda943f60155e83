/** Brings slices to the working size and back as the page does, for tests in Python: `fit_arrays.ts cases.json out/`. */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Contract } from "../../src/contract.ts";
import type { Resizable } from "../../src/io/resize.ts";
import { fitOf, oddFit, toNative, toWorking } from "../../src/model/fit.ts";

interface Case {
  readonly name: string; // of the files `<name>.in` and `<name>.probability`; the results' end in .working and .native
  readonly type: "uint8" | "int16" | "uint16" | "float32";
  readonly contract: Contract;
  readonly native: readonly [number, number]; // rows, columns
  readonly spacing: readonly [number, number, number];
  readonly outside: number;
}

const KINDS = { uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, float32: Float32Array };
const [cases, folder] = process.argv.slice(2) as [string, string];
const fits: Record<string, unknown> = {};

async function bytesOf(name: string): Promise<ArrayBuffer> {
  return new Uint8Array(await readFile(join(folder, name))).buffer;
}

async function write(name: string, data: Resizable): Promise<void> {
  await writeFile(join(folder, name), new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

for (const one of JSON.parse(await readFile(cases, "utf8")) as Case[]) {
  const fit = fitOf(one.contract, { height: one.native[0], width: one.native[1] }, one.spacing);
  const data: Resizable = new KINDS[one.type](await bytesOf(`${one.name}.in`));
  await write(`${one.name}.working`, toWorking(data, fit, 1, one.outside));
  await write(`${one.name}.native`, toNative(new Float32Array(await bytesOf(`${one.name}.probability`)), fit));
  fits[one.name] = { resampled: [fit.resampled.height, fit.resampled.width], notes: oddFit(fit, one.contract) };
}
await writeFile(join(folder, "fits.json"), JSON.stringify(fits));
