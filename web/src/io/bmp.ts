/** BMP to pixels as OpenCV gives them: 1, 4, 8, 16, 24 and 32 bits a pixel; transparency is dropped. */

import { throughPalette, unpackBits } from "./bits.ts";
import { damaged } from "./damage.ts";
import { checkPixels } from "./limits.ts";
import type { Picture } from "./types.ts";
import { UserMessage } from "./types.ts";

const PLAIN = 0;
const MASKS = 3; // the header says which bits are red, green and blue

export function isBmp(data: Uint8Array): boolean {
  return data[0] === 0x42 && data[1] === 0x4d && data.length > 26;
}

export function readBmp(data: Uint8Array, name: string): Omit<Picture, "notes"> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const size = view.getUint32(14, true); // of the header
  const old = size === 12;
  const width = old ? view.getUint16(18, true) : view.getInt32(18, true);
  const signed = old ? view.getUint16(20, true) : view.getInt32(22, true);
  const height = Math.abs(signed); // negative: rows from the top
  const bits = view.getUint16(old ? 24 : 28, true);
  const compression = old ? PLAIN : view.getUint32(30, true);
  checkPixels(width, height, name);
  if (![PLAIN, MASKS].includes(compression) || ![1, 4, 8, 16, 24, 32].includes(bits)) {
    throw new UserMessage(`'${name}' is a compressed BMP`, "save it as PNG");
  }
  const start = view.getUint32(10, true);
  const stride = Math.ceil((width * bits) / 32) * 4;
  if (start + stride * height > data.length) throw damaged(name, "its pixels end too early");
  const place = (y: number): number => start + (signed > 0 ? height - 1 - y : y) * stride;

  const pixels = new Uint8Array(width * height * 3);
  if (bits <= 8) {
    const palette = paletteOf(data, 14 + size, old ? 3 : 4, 1 << bits, start);
    for (let y = 0; y < height; y++) {
      const row = data.subarray(place(y), place(y) + stride);
      const values = bits === 8 ? row.subarray(0, width) : unpackBits(row, bits as 1 | 4, width, 1);
      pixels.set(throughPalette(values, palette), y * width * 3);
    }
  } else if (bits === 24) {
    for (let y = 0, to = 0; y < height; y++) {
      for (let x = 0, from = place(y); x < width; x++, from += 3) {
        pixels[to++] = data[from + 2]!;
        pixels[to++] = data[from + 1]!;
        pixels[to++] = data[from]!;
      }
    }
  } else {
    const masks = masksOf(view, bits, compression === MASKS ? 54 : null);
    const step = bits / 8;
    for (let y = 0, to = 0; y < height; y++) {
      for (let x = 0, from = place(y); x < width; x++, from += step) {
        const value = step === 4 ? view.getUint32(from, true) : view.getUint16(from, true);
        for (const mask of masks) pixels[to++] = eightBits(value, mask);
      }
    }
  }
  return { kind: "image", name, format: "bmp", width, height, channels: 3, data: pixels };
}

function paletteOf(data: Uint8Array, start: number, step: number, most: number, end: number): Uint8Array {
  const count = Math.min(most, Math.floor((Math.min(end, data.length) - start) / step));
  const palette = new Uint8Array(Math.max(0, count) * 3);
  for (let entry = 0; entry < count; entry++) {
    for (let c = 0; c < 3; c++) palette[entry * 3 + c] = data[start + entry * step + 2 - c]!;
  }
  return palette;
}

function masksOf(view: DataView, bits: number, place: number | null): number[] {
  if (place !== null) return [0, 4, 8].map((offset) => view.getUint32(place + offset, true));
  return bits === 16 ? [0x7c00, 0x03e0, 0x001f] : [0xff0000, 0xff00, 0xff];
}

/** The bits under a mask as the upper ones of eight. */
function eightBits(value: number, mask: number): number {
  if (mask === 0) return 0;
  const top = 31 - Math.clz32(mask);
  const own = (value & mask) >>> 0;
  return top >= 7 ? (own >>> (top - 7)) & 0xff : (own << (7 - top)) & 0xff;
}
