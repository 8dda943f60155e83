/** PNG to pixels as OpenCV gives them: 8 and 16 bits, grey, colours, palettes, interlaced; transparency is dropped. */

import { throughPalette, unpackBits } from "./bits.ts";
import { damaged } from "./damage.ts";
import { inflate, joined } from "./inflate.ts";
import { checkPixels } from "./limits.ts";
import { orientationOf, turned } from "./orientation.ts";
import type { Picture, Pixels } from "./types.ts";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // by the colour type
const PALETTE = 3;
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const; // of Adam7: first column and row, steps

interface Header {
  readonly width: number;
  readonly height: number;
  readonly depth: number; // bits of a sample
  readonly channels: number; // those of the file, transparency included
  readonly colour: number;
  readonly interlaced: boolean;
}

export function isPng(data: Uint8Array): boolean {
  return SIGNATURE.every((byte, index) => data[index] === byte);
}

export function readPng(data: Uint8Array, name: string): Omit<Picture, "notes"> {
  const header = headerOf(data, name);
  checkPixels(header.width, header.height, name);
  let palette = new Uint8Array();
  let orientation = 1;
  const packed: Uint8Array[] = [];
  for (const [type, content] of chunks(data)) {
    if (type === "PLTE") palette = content.slice();
    else if (type === "eXIf") orientation = orientationOf(content);
    else if (type === "IDAT") packed.push(content);
  }
  const passes = passesOf(header);
  const promised = passes.reduce((sum, pass) => sum + pass.height * (1 + lineBytes(header, pass.width)), 0);
  const filtered = inflate(joined(packed), "zlib", promised);
  if (filtered.length < promised) throw damaged(name, "its pixels end too early");

  const samples = samplesOf(filtered, header, passes);
  const [channels, pixels] = coloursOf(samples, header, palette);
  return { kind: "image", name, format: "png", channels, ...turned(pixels, header.width, header.height, channels, orientation) };
}

function headerOf(data: Uint8Array, name: string): Header {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length < 33 || view.getUint32(12) !== 0x49484452) throw damaged(name, "a PNG without a header");
  const [depth, colour, interlace] = [data[24]!, data[25]!, data[28]!];
  const channels = CHANNELS[colour];
  if (channels === undefined || ![1, 2, 4, 8, 16].includes(depth) || interlace > 1) {
    throw damaged(name, "a PNG with an impossible header");
  }
  return { width: view.getUint32(16), height: view.getUint32(20), depth, channels, colour, interlaced: interlace === 1 };
}

function* chunks(data: Uint8Array): Generator<[string, Uint8Array]> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let place = 8; place + 12 <= data.length; ) {
    const length = view.getUint32(place);
    const type = String.fromCharCode(...data.subarray(place + 4, place + 8));
    if (type === "IEND") return;
    yield [type, data.subarray(place + 8, Math.min(place + 8 + length, data.length))];
    place += 12 + length;
  }
}

interface Pass {
  readonly width: number;
  readonly height: number;
  place(x: number, y: number): number; // of a pixel, in the whole image
}

function passesOf(header: Header): Pass[] {
  const { width, height } = header;
  if (!header.interlaced) return [{ width, height, place: (x, y) => y * width + x }];
  return PASSES.map(([x0, y0, dx, dy]) => ({
    width: Math.ceil((width - x0) / dx),
    height: Math.ceil((height - y0) / dy),
    place: (x: number, y: number) => (y0 + y * dy) * width + x0 + x * dx,
  })).filter((pass) => pass.width > 0 && pass.height > 0);
}

function lineBytes(header: Header, width: number): number {
  return Math.ceil((width * header.channels * header.depth) / 8);
}

/** All samples of the file, [height, width, channels of the file]. */
function samplesOf(filtered: Uint8Array, header: Header, passes: readonly Pass[]): Pixels {
  const { depth, channels } = header;
  const length = header.width * header.height * channels;
  const samples = depth === 16 ? new Uint16Array(length) : new Uint8Array(length);
  let place = 0;
  for (const pass of passes) {
    const stride = lineBytes(header, pass.width);
    const bytes = filtered.subarray(place, place + pass.height * (1 + stride));
    place += bytes.length;
    const rows = unfiltered(bytes, pass.height, stride, Math.max(1, (depth * channels) >> 3));
    const own = depth < 8 ? unpackBits(rows, depth as 1 | 2 | 4, pass.width * channels, pass.height) : rows;
    const wide = depth === 16;
    for (let y = 0; y < pass.height; y++) {
      for (let x = 0; x < pass.width; x++) {
        const to = pass.place(x, y) * channels;
        const from = (y * pass.width + x) * channels;
        for (let c = 0; c < channels; c++) {
          samples[to + c] = wide ? (own[2 * (from + c)]! << 8) | own[2 * (from + c) + 1]! : own[from + c]!;
        }
      }
    }
  }
  return samples;
}

/** Rows without the byte before each that says how it was filtered. Throws an Error for an unknown filter. */
function unfiltered(bytes: Uint8Array, height: number, stride: number, back: number): Uint8Array {
  const rows = new Uint8Array(height * stride);
  for (let y = 0; y < height; y++) {
    const filter = bytes[y * (stride + 1)]!;
    const from = y * (stride + 1) + 1;
    const to = y * stride;
    if (filter > 4) throw new Error("unknown filter");
    for (let x = 0; x < stride; x++) {
      const left = filter !== 0 && x >= back ? rows[to + x - back]! : 0;
      const above = filter >= 2 && y > 0 ? rows[to + x - stride]! : 0;
      let guess = 0;
      if (filter === 1) guess = left;
      else if (filter === 2) guess = above;
      else if (filter === 3) guess = (left + above) >> 1;
      else if (filter === 4) guess = paeth(left, above, x >= back && y > 0 ? rows[to + x - stride - back]! : 0);
      rows[to + x] = bytes[from + x]! + guess;
    }
  }
  return rows;
}

function paeth(left: number, above: number, corner: number): number {
  const sum = left + above - corner;
  const [toLeft, toAbove, toCorner] = [Math.abs(sum - left), Math.abs(sum - above), Math.abs(sum - corner)];
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

function coloursOf(samples: Pixels, header: Header, palette: Uint8Array): [1 | 3, Pixels] {
  const { channels, depth, colour } = header;
  if (colour === PALETTE) return [3, throughPalette(samples as Uint8Array, palette)];
  if (depth < 8) return [1, samples.map((value) => value * (255 / ((1 << depth) - 1))) as Pixels];
  if (channels === 1) return [1, samples];
  if (channels === 3) return [3, samples];
  const kept = channels - 1; // without transparency
  const pixels = new (samples.constructor as new (length: number) => Pixels)((samples.length / channels) * kept);
  for (let pixel = 0, from = 0, to = 0; pixel < samples.length / channels; pixel++, from += channels) {
    for (let c = 0; c < kept; c++) pixels[to++] = samples[from + c]!;
  }
  return [kept as 1 | 3, pixels];
}
