/** Voxels that are no numbers a model can take. */

import { grouped } from "./limits.ts";
import type { Voxels } from "./types.ts";
import { UserMessage } from "./types.ts";

const SINGLE = 3.4028234663852886e38; // largest number of single precision

/** Throws UserMessage for voxels that are NaN, infinite, or beyond single precision. */
export function checkNumbers(voxels: Voxels, name: string): void {
  if (!(voxels instanceof Float32Array || voxels instanceof Float64Array)) return;
  let bad = 0;
  let largest = 0;
  for (const value of voxels) {
    if (!Number.isFinite(value)) bad += 1;
    else if (Math.abs(value) > largest) largest = Math.abs(value);
  }
  if (bad > 0) {
    const what = `'${name}' has ${grouped(bad)} voxels that are NaN or infinite`;
    throw new UserMessage(what, "export the volume again, or replace these voxels");
  }
  if (largest > SINGLE) {
    throw new UserMessage(`'${name}' has values up to ${largest.toPrecision(3)}, beyond single precision`, "export it again");
  }
}
