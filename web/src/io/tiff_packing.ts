/** The packings of TIFF, each unpacked to as many bytes as a strip or tile has and no more. */

import { inflate } from "./inflate.ts";

const CLEAR = 256;
const END = 257;

/** Exactly `length` bytes. Throws an Error for data that ends too early, null stands for an unknown packing. */
export function unpacked(packed: Uint8Array, packing: number, length: number): Uint8Array | null {
  const bytes = unpackedBy(packed, packing, length);
  if (bytes !== null && bytes.length < length) throw new Error("the pixels end too early");
  return bytes === null ? null : bytes.subarray(0, length);
}

function unpackedBy(packed: Uint8Array, packing: number, length: number): Uint8Array | null {
  if (packing === 1) return packed;
  if (packing === 5) return lzw(packed, length);
  if (packing === 8 || packing === 32946) return inflate(packed, "zlib", length);
  return packing === 32773 ? packBits(packed, length) : null;
}

/** Runs and literals, up to `length` bytes; fewer where the data ends. */
export function packBits(packed: Uint8Array, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let to = 0;
  for (let from = 0; from < packed.length && to < length; ) {
    const count = (packed[from++]! << 24) >> 24;
    if (count >= 0) {
      const own = packed.subarray(from, Math.min(from + count + 1, from + length - to));
      bytes.set(own, to);
      from += count + 1;
      to += own.length;
    } else if (count !== -128) {
      bytes.fill(packed[from++]!, to, to + 1 - count);
      to += 1 - count;
    }
  }
  return bytes.subarray(0, to);
}

/** LZW with codes of 9 to 12 bits, the first bit the highest, each width left one code early. */
function lzw(packed: Uint8Array, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const prefix = new Uint16Array(4096); // of each code: the code it continues,
  const last = new Uint8Array(4096); // and the byte it ends with
  const sizes = new Uint16Array(4096);
  for (let code = 0; code < 256; code++) {
    last[code] = code;
    sizes[code] = 1;
  }
  let [to, next, width, before, buffer, held] = [0, 258, 9, -1, 0, 0];
  for (const byte of packed) {
    buffer = ((buffer << 8) | byte) & 0xffffff;
    held += 8;
    if (held < width) continue;
    held -= width;
    const code = (buffer >> held) & ((1 << width) - 1);
    if (code === END || to >= length) break;
    if (code === CLEAR) {
      [next, width, before] = [258, 9, -1];
      continue;
    }
    if (code > next || (code === next && before < 0) || (code >= 256 && code < 258)) throw new Error("damaged LZW");
    const known = code < next || code < 256;
    const source = known ? code : before;
    const size = sizes[source]!;
    for (let each = source, place = to + size - 1; place >= to; place--, each = prefix[each]!) {
      if (place < length) bytes[place] = last[each]!;
    }
    if (!known && to + size < length) bytes[to + size] = bytes[to]!;
    if (before >= 0 && next < 4096) {
      prefix[next] = before;
      last[next] = bytes[to]!;
      sizes[next] = sizes[before]! + 1;
      next += 1;
      if (next >= (1 << width) - 1 && width < 12) width += 1;
    }
    to += known ? size : size + 1;
    before = code;
  }
  return bytes.subarray(0, Math.min(to, length));
}
