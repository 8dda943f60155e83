/** Unpacking with an end: no more comes out than was promised, however much a file holds. */

import { Gunzip, Inflate, Unzlib } from "fflate";

const PIECE = 1 << 14; // bytes pushed at a time: at most 1032 times as many come out before the next look

type Packing = "zlib" | "gzip" | "deflate";

/**
 * The first `most` bytes of packed data; the rest is not unpacked. With "some" there may be fewer.
 *
 * Throws an Error for data that is damaged or ends too early; of gzip all members are read.
 */
export function inflate(data: Uint8Array, packing: Packing, most: number, wanted: "all" | "some" = "all"): Uint8Array {
  const parts: Uint8Array[] = [];
  let total = 0;
  const take = (part: Uint8Array): void => {
    parts.push(part);
    total += part.length;
  };
  const stream = packing === "zlib" ? new Unzlib(take) : packing === "gzip" ? new Gunzip(take) : new Inflate(take);
  for (let start = 0; start < data.length && total < most; start += PIECE) {
    const end = Math.min(start + PIECE, data.length);
    stream.push(data.subarray(start, end), end === data.length);
  }
  if (total < most && wanted === "all") throw new Error("the compressed data ends too early");
  return joined(parts, Math.min(total, most));
}

export function joined(parts: readonly Uint8Array[], length = parts.reduce((sum, part) => sum + part.length, 0)): Uint8Array {
  if (parts.length === 1 && parts[0]!.length === length) return parts[0]!;
  const whole = new Uint8Array(length);
  let place = 0;
  for (const part of parts) {
    const own = part.subarray(0, length - place);
    whole.set(own, place);
    place += own.length;
  }
  return whole;
}
