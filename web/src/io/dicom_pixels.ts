/** The pixels of one DICOM slice: plain, as runs (RLE), as lossless JPEG or JPEG 2000; others are refused by name. */

import { Decoder } from "jpeg-lossless-decoder-js";
import type { DataSet, Element } from "dicom-parser";

import { asMessage, damaged } from "./damage.ts";
import type { Slice } from "./dicom_header.ts";
import { PIXELS, PLAIN, parse } from "./dicom_header.ts";
import { joined } from "./inflate.ts";
import { frameOf } from "./jpeg.ts";
import { packBits } from "./tiff_packing.ts";
import type { Voxels } from "./types.ts";
import { UserMessage } from "./types.ts";

const RLE = "1.2.840.10008.1.2.5";
const LOSSLESS = ["1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"];
const JPEG2000 = ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"];
const NAMES: Readonly<Record<string, string>> = {
  "1.2.840.10008.1.2.4.50": "JPEG",
  "1.2.840.10008.1.2.4.51": "JPEG of 12 bits",
  "1.2.840.10008.1.2.4.80": "JPEG-LS",
  "1.2.840.10008.1.2.4.81": "JPEG-LS",
  "1.2.840.10008.1.2.4.201": "HTJ2K",
  "1.2.840.10008.1.2.4.202": "HTJ2K",
  "1.2.840.10008.1.2.4.203": "HTJ2K",
};

/** Throws UserMessage for pixels packed, or given their units, in a way that is not read here. */
export function checkPacking({ syntax, source, bits, tables }: Slice): void {
  if (tables) {
    const what = `'${source.name}' gives its units by a table, which this page does not read`;
    throw new UserMessage(what, "segment the series with 'sdseg predict', or convert it to NIfTI");
  }
  if (![...PLAIN, RLE, ...LOSSLESS, ...JPEG2000].includes(syntax)) {
    const what = `'${source.name}' is packed as ${NAMES[syntax] ?? `'${syntax}'`}, which this page does not read`;
    throw new UserMessage(what, "segment the series with 'sdseg predict', or save it unpacked or as NIfTI first");
  }
  if (bits.allocated !== 8 && bits.allocated !== 16 && bits.allocated !== 32) {
    throw new UserMessage(`'${source.name}' has pixels of ${bits.allocated} bits`, "convert the series to NIfTI");
  }
}

/** Puts the values of a slice, rescaled, row by row into `voxels` from `start` on. */
export async function readPixels(data: Uint8Array, one: Slice, voxels: Voxels, start: number): Promise<void> {
  try {
    const count = one.rows * one.columns;
    const bytes = await plainBytes(data, one, (count * one.bits.allocated) / 8);
    const read = reader(bytes, one, count);
    for (let index = 0; index < count; index++) voxels[start + index] = read(index) * one.slope + one.intercept;
  } catch (error) {
    throw asMessage(one.source.name, error);
  }
}

/** The values that a slice can hold, rescaled. */
export function rangeOf({ bits, slope, intercept }: Slice): [number, number] {
  const low = bits.signed ? -(2 ** (bits.stored - 1)) : 0;
  const high = low + 2 ** bits.stored - 1;
  const ends = [low * slope + intercept, high * slope + intercept];
  return [Math.min(...ends), Math.max(...ends)];
}

async function plainBytes(data: Uint8Array, one: Slice, length: number): Promise<Uint8Array> {
  const { syntax, source } = one;
  const dataset = parse(data, PLAIN.includes(syntax));
  const pixels = dataset.elements[PIXELS];
  if (pixels === undefined) throw new UserMessage(`'${source.name}' has no pixels`, "take it away");
  if (PLAIN.includes(syntax)) {
    return (dataset.byteArray as Uint8Array).subarray(pixels.dataOffset, pixels.dataOffset + length);
  }
  const packed = fragmentsOf(dataset, pixels);
  const bytes = await unpacked(packed, one, length);
  if (bytes.length < length) throw damaged(source.name, "its pixels end too early");
  return bytes;
}

async function unpacked(packed: Uint8Array, one: Slice, length: number): Promise<Uint8Array> {
  if (one.syntax === RLE) return runs(packed, one, length);
  if (LOSSLESS.includes(one.syntax)) {
    const frame = frameOf(packed);
    if (frame?.width !== one.columns || frame.height !== one.rows || frame.components !== 1) {
      throw new Error("another size than its header's");
    }
    return new Uint8Array(new Decoder().decompress(packed.slice().buffer)).subarray(0, length);
  }
  const { decodeJpeg2000 } = await import("./jpeg2000.ts"); // loaded when a file wants it
  return decodeJpeg2000(packed, one.columns, one.rows, one.bits.allocated / 8);
}

function fragmentsOf(dataset: DataSet, pixels: Element): Uint8Array {
  const all = dataset.byteArray as Uint8Array;
  const parts = (pixels.fragments ?? []).map(({ position, length }) => all.subarray(position, position + length));
  return joined(parts);
}

/** Segments of runs, one for each byte of a value, the highest first. */
function runs(packed: Uint8Array, one: Slice, length: number): Uint8Array {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const segments = view.getUint32(0, true);
  const size = one.bits.allocated / 8;
  if (segments !== size) throw new Error("another number of segments than bytes in a value");
  const bytes = new Uint8Array(length);
  const count = length / size;
  for (let segment = 0; segment < segments; segment++) {
    const start = view.getUint32(4 + 4 * segment, true);
    const end = segment + 1 < segments ? view.getUint32(8 + 4 * segment, true) : packed.length;
    const plane = packBits(packed.subarray(start, end), count);
    if (plane.length < count) throw new Error("a segment that ends too early");
    for (let index = 0; index < count; index++) bytes[index * size + size - 1 - segment] = plane[index]!;
  }
  return bytes;
}

/** Gives each value as it is stored: its bits cut out, its sign and what is white set right. */
function reader(bytes: Uint8Array, { bits }: Slice, count: number): (index: number) => number {
  const { allocated, stored, high, signed, inverted } = bits;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = !bits.bigEndian;
  const size = allocated / 8;
  if (bytes.length < count * size) throw new Error("too few bytes");
  const raw = (index: number): number => {
    if (size === 1) return view.getUint8(index);
    return size === 2 ? view.getUint16(index * 2, little) : view.getUint32(index * 4, little);
  };
  const shift = Math.max(0, high + 1 - stored);
  const above = 32 - stored;
  return (index) => {
    const lifted = (raw(index) >>> shift) << above;
    const value = signed ? lifted >> above : lifted >>> above;
    return inverted ? (signed ? -1 - value : 2 ** stored - 1 - value) : value;
  };
}
