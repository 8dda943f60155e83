/** Masks and pictures as files. */

import { gzipSync, zlibSync } from "fflate";

import { joined } from "./inflate.ts";
import { labelHeader } from "./nifti_header.ts";
import type { Size, Volume } from "./types.ts";

const CHECKS = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
}); // of CRC-32

/** A PNG of 8 bits: grey [height, width], or colours [height, width, 3]. */
export function encodePng(data: Uint8Array, size: Size, channels: 1 | 3): Uint8Array {
  const { width, height } = size;
  const stride = width * channels;
  const rows = new Uint8Array(height * (stride + 1));
  for (let y = 0; y < height; y++) rows.set(data.subarray(y * stride, (y + 1) * stride), y * (stride + 1) + 1);
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, channels === 1 ? 0 : 2, 0, 0, 0], 8);
  const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  return joined([signature, chunk("IHDR", header), chunk("IDAT", zlibSync(rows)), chunk("IEND", new Uint8Array())]);
}

/** Labels in the order of the volume's file, gzipped, in its geometry; of a DICOM series in NIfTI's axes (RAS+). */
export function encodeNifti(volume: Volume, labels: Uint8Array): Uint8Array {
  const [x, y, z] = volume.shape;
  if (labels.length !== x * y * z) throw new Error(`${labels.length} labels for a volume of ${x}×${y}×${z} voxels`);
  return gzipSync(joined([labelHeader(volume), labels]), { level: 6, mtime: 0 }); // no time: same mask, same bytes
}

function chunk(type: string, content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(content.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  for (let index = 0; index < 4; index++) bytes[4 + index] = type.charCodeAt(index);
  bytes.set(content, 8);
  let check = 0xffffffff;
  for (let index = 4; index < bytes.length - 4; index++) check = CHECKS[(check ^ bytes[index]!) & 0xff]! ^ (check >>> 8);
  view.setUint32(bytes.length - 4, (check ^ 0xffffffff) >>> 0);
  return bytes;
}
