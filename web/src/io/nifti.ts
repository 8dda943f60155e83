/** NIfTI files (.nii, .nii.gz; both versions, both byte orders) to volumes, as nibabel reads them. */

import { asMessage, damaged } from "./damage.ts";
import { spacingOf } from "./geometry.ts";
import { inflate } from "./inflate.ts";
import { checkVoxels } from "./limits.ts";
import type { NiftiHeader } from "./nifti_header.ts";
import { LONGEST_HEADER, isNifti, readHeader } from "./nifti_header.ts";
import { oddSpacing } from "./spacing.ts";
import type { Volume, Voxels } from "./types.ts";
import { UserMessage } from "./types.ts";
import { checkNumbers } from "./values.ts";

type Kind = readonly [bytes: number, read: (view: DataView, place: number, little: boolean) => number, empty: (length: number) => Voxels];

const KINDS: Readonly<Record<number, Kind>> = {
  2: [1, (v, p) => v.getUint8(p), (n) => new Uint8Array(n)],
  4: [2, (v, p, l) => v.getInt16(p, l), (n) => new Int16Array(n)],
  8: [4, (v, p, l) => v.getInt32(p, l), (n) => new Int32Array(n)],
  16: [4, (v, p, l) => v.getFloat32(p, l), (n) => new Float32Array(n)],
  64: [8, (v, p, l) => v.getFloat64(p, l), (n) => new Float64Array(n)],
  256: [1, (v, p) => v.getInt8(p), (n) => new Int8Array(n)],
  512: [2, (v, p, l) => v.getUint16(p, l), (n) => new Uint16Array(n)],
  768: [4, (v, p, l) => v.getUint32(p, l), (n) => new Uint32Array(n)],
  1024: [8, (v, p, l) => Number(v.getBigInt64(p, l)), (n) => new Float64Array(n)],
  1280: [8, (v, p, l) => Number(v.getBigUint64(p, l)), (n) => new Float64Array(n)],
};
const OTHERS: Readonly<Record<number, string>> = {
  1: "single bits",
  32: "complex numbers",
  128: "colours",
  1536: "128-bit numbers",
  1792: "complex numbers",
  2048: "complex numbers",
  2304: "colours",
};

export function isGzip(data: Uint8Array): boolean {
  return data[0] === 0x1f && data[1] === 0x8b;
}

/** Whether a file, packed or not, begins as NIfTI does. */
export function isNiftiFile(data: Uint8Array): boolean {
  try {
    return isNifti(isGzip(data) ? inflate(data.subarray(0, 1 << 16), "gzip", 352) : data);
  } catch {
    return false;
  }
}

/** Throws UserMessage for anything but a whole volume of three axes within the limits: its header is asked first. */
export function readNifti(data: Uint8Array, name: string): Volume {
  try {
    const packed = isGzip(data);
    const head = packed ? inflate(data, "gzip", LONGEST_HEADER, "some") : data.subarray(0, LONGEST_HEADER);
    const header = readHeader(head, name);
    const kind = KINDS[header.datatype];
    if (kind === undefined) {
      const what = OTHERS[header.datatype] ?? `an unknown type (${header.datatype})`;
      throw new UserMessage(`'${name}' has voxels of ${what}; numbers are expected`, "export it as 16-bit");
    }
    checkVoxels(header.shape, name);
    const [x, y, z] = header.shape;
    const length = header.offset + x * y * z * kind[0];
    const whole = packed ? inflate(data, "gzip", length) : data;
    if (whole.length < length) throw damaged(name, `${length - whole.length} bytes are missing at the end`);
    const voxels = voxelsOf(whole, header, kind);
    checkNumbers(voxels, name);
    return {
      kind: "volume",
      name,
      shape: header.shape,
      spacing: spacingOf(header.affine),
      affine: header.affine,
      data: voxels,
      source: "nifti",
      modality: null,
      header: header.bytes,
      notes: oddSpacing(header.affine),
    };
  } catch (error) {
    throw asMessage(name, error);
  }
}

function voxelsOf(bytes: Uint8Array, header: NiftiHeader, [size, read, empty]: Kind): Voxels {
  const [x, y, z] = header.shape;
  const count = x * y * z;
  const view = new DataView(bytes.buffer, bytes.byteOffset + header.offset, count * size);
  const { little, slope, intercept } = header;
  if (slope === 1 && intercept === 0) {
    const voxels = empty(count);
    if (little && size === voxels.BYTES_PER_ELEMENT && header.datatype < 1024) {
      new Uint8Array(voxels.buffer).set(bytes.subarray(header.offset, header.offset + count * size));
    } else {
      for (let index = 0; index < count; index++) voxels[index] = read(view, index * size, little);
    }
    return voxels;
  }
  const scaled = new Float32Array(count);
  for (let index = 0; index < count; index++) scaled[index] = read(view, index * size, little) * slope + intercept;
  return scaled;
}
