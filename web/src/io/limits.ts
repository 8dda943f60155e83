/** How large an input may be, asked of its header before anything is allocated for it. */

import { UserMessage } from "./types.ts";

/** A browser's tab has less memory than a machine: these are smaller than the limits of `sdseg predict`. */
export const LIMITS = {
  pixels: 2 ** 26, // of an image: 8192 × 8192
  voxels: 2 ** 28, // of a volume: 1024 × 512 × 512
  unpacked: 2 ** 30, // bytes of a zip's entries together
  entries: 10_000, // of a zip
} as const;

const REMEDY = "reduce it, or cut it, or segment it with 'sdseg predict', which takes larger ones";

export function checkPixels(width: number, height: number, name: string): void {
  if (!(width >= 1 && height >= 1)) {
    throw new UserMessage(`'${name}' is an image of ${width}×${height} pixels`, "replace it by a whole copy");
  }
  if (width * height > LIMITS.pixels) {
    const size = `${width}×${height} pixels by its header`;
    throw new UserMessage(`'${name}' has ${size}, and at most ${grouped(LIMITS.pixels)} are read here`, REMEDY);
  }
}

export function checkVoxels(shape: readonly number[], name: string): void {
  const voxels = shape.reduce((product, length) => product * length, 1);
  if (voxels > LIMITS.voxels) {
    const size = `${shape.join("×")} voxels by its header`;
    throw new UserMessage(`'${name}' has ${size}, and at most ${grouped(LIMITS.voxels)} are read here`, REMEDY);
  }
}

export function grouped(count: number): string {
  return count.toLocaleString("en-GB");
}
