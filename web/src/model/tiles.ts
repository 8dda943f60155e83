/**
 * A large image from overlapping tiles: as sdseg/backends/sliding_window.py puts them together.
 *
 * Everything is rounded to single precision where that is, so that masks are the same.
 */

import type { Tiles } from "../contract.ts";
import type { Size } from "../io/types.ts";
import type { Answer } from "./engine.ts";

const LEAST_WEIGHT = 1e-3; // of a corner, of which a Gaussian leaves nothing
const SIGMA = 0.125; // of the Gaussian, as a part of the tile's side

type Run = (tile: Uint8Array) => Promise<Answer>;

/** What `run` says of the tiles of an image [height, width, channels], blended; `outside` lies around a small one. */
export async function overTiles(
  run: Run,
  image: Uint8Array,
  size: Size,
  tile: Size,
  how: Tiles,
  outside: number,
  report: (done: number, total: number) => Promise<void>,
): Promise<Answer> {
  if (size.width === tile.width && size.height === tile.height) return run(image);
  const channels = image.length / (size.width * size.height);
  const [across, down] = [axis(size.width, tile.width, how.overlap), axis(size.height, tile.height, how.overlap)];
  const weights = importance(tile, how.blending === "gaussian");
  const shares = new Float32Array(size.width * size.height);
  const sums: { probability: Float32Array | null; hypotheses: Float32Array | null } = { probability: null, hypotheses: null };
  let done = 0;
  for (const top of down) {
    for (const left of across) {
      const answer = await run(cut(image, size, tile, channels, top, left, outside));
      for (const name of ["probability", "hypotheses"] as const) {
        const values = answer[name];
        if (values === null) continue;
        const planes = values.length / weights.length;
        sums[name] ??= new Float32Array(planes * shares.length);
        for (let plane = 0; plane < planes; plane++) {
          const own = values.subarray(plane * weights.length, (plane + 1) * weights.length);
          const whole = sums[name]!.subarray(plane * shares.length, (plane + 1) * shares.length);
          each(size, tile, top, left, (from, to) => {
            whole[to]! += Math.fround(own[from]! * weights[from]!);
          });
        }
      }
      each(size, tile, top, left, (from, to) => {
        shares[to]! += weights[from]!;
      });
      await report(++done, across.length * down.length);
    }
  }
  for (const sum of [sums.probability, sums.hypotheses]) {
    if (sum !== null) for (let index = 0; index < sum.length; index++) sum[index]! /= shares[index % shares.length]!;
  }
  return { probability: sums.probability!, hypotheses: sums.hypotheses };
}

/** Where tiles begin along an axis, in pixels of the image: before it, where it is shorter than a tile. */
function axis(length: number, side: number, overlap: number): number[] {
  if (length <= side) return [-Math.floor((side - length) / 2)];
  const step = Math.max(Math.trunc(side * (1 - overlap)), 1);
  const count = 1 + Math.ceil((length - side) / step);
  return Array.from({ length: count }, (_, number) => Math.min(number * step, length - side));
}

/** The weight of each pixel of a tile, [height, width]. */
function importance(tile: Size, gaussian: boolean): Float32Array {
  const along = (side: number): Float32Array =>
    Float32Array.from({ length: side }, (_, index) => {
      if (!gaussian) return 1;
      const away = Math.fround(index - Math.fround((side - 1) / 2));
      return Math.exp(Math.fround(Math.fround(away * away) / Math.fround(-2 * (SIGMA * side) ** 2)));
    });
  const [across, down] = [along(tile.width), along(tile.height)];
  const weights = new Float32Array(tile.width * tile.height);
  for (let index = 0; index < weights.length; index++) {
    weights[index] = down[Math.floor(index / tile.width)]! * across[index % tile.width]!;
  }
  const least = Math.max(weights.reduce((low, weight) => Math.min(low, weight), 1), LEAST_WEIGHT);
  return weights.map((weight) => Math.max(weight, least));
}

function cut(
  image: Uint8Array,
  size: Size,
  tile: Size,
  channels: number,
  top: number,
  left: number,
  outside: number,
): Uint8Array {
  const pixels = new Uint8Array(tile.width * tile.height * channels).fill(outside);
  each(size, tile, top, left, (to, from) => {
    for (let channel = 0; channel < channels; channel++) {
      pixels[to * channels + channel] = image[from * channels + channel]!;
    }
  });
  return pixels;
}

/** The pixels of a tile that lie in the image: where in the tile, and where in the image. */
function each(size: Size, tile: Size, top: number, left: number, visit: (inTile: number, inImage: number) => void): void {
  for (let y = Math.max(0, -top); y < Math.min(tile.height, size.height - top); y++) {
    for (let x = Math.max(0, -left); x < Math.min(tile.width, size.width - left); x++) {
      visit(y * tile.width + x, (top + y) * size.width + left + x);
    }
  }
}
