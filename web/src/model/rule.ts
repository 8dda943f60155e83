/** From probabilities to masks, as sdseg/data/mask_rule.py: a threshold, and whether structures exclude each other. */

import type { Contract } from "../contract.ts";

export type Bits = Uint8Array | Uint16Array | Uint32Array;

/** Room for masks: one bit per structure. */
export function roomForBits(structures: number, length: number): Bits {
  if (structures <= 8) return new Uint8Array(length);
  return structures <= 16 ? new Uint16Array(length) : new Uint32Array(length);
}

/**
 * Masks of one slice: `probability` is [structures, pixels], `bits` [pixels] is filled.
 * A pixel belongs to every structure above the threshold, or where they exclude each other to the likeliest of them.
 */
export function maskSlice(
  probability: Float32Array,
  bits: Bits,
  structures: number,
  threshold: number,
  exclusive: boolean,
): void {
  const pixels = bits.length;
  if (exclusive && structures > 1) {
    for (let pixel = 0; pixel < pixels; pixel++) {
      let best = 0;
      let highest = probability[pixel]!;
      for (let number = 1; number < structures; number++) {
        const value = probability[number * pixels + pixel]!;
        if (value > highest) {
          highest = value;
          best = number;
        }
      }
      bits[pixel] = highest > threshold ? 2 ** best : 0;
    }
    return;
  }
  bits.fill(0);
  for (let number = 0; number < structures; number++) {
    const bit = 2 ** number;
    const start = number * pixels;
    for (let pixel = 0; pixel < pixels; pixel++) {
      if (probability[start + pixel]! > threshold) bits[pixel]! += bit;
    }
  }
}

/** One label per pixel, from 1: where structures overlap the inner one, else the later (native_size.py `ids`). */
export function labelsOf(bits: Bits, contract: Pick<Contract, "structures">): Uint8Array {
  const order = contract.structures.map((_, number) => number);
  order.sort((one, other) => contract.structures[other]!.parts - contract.structures[one]!.parts);
  const labels = new Uint8Array(bits.length);
  const masks = order.map((number) => [number + 1, 2 ** number] as const);
  for (let pixel = 0; pixel < bits.length; pixel++) {
    const here = bits[pixel]!;
    if (here === 0) continue;
    for (const [label, bit] of masks) if ((here & bit) !== 0) labels[pixel] = label;
  }
  return labels;
}
