/** The header of a NIfTI file, read as nibabel reads it; and one written as nibabel writes it. */

import { damaged } from "./damage.ts";
import { faultOfAffine, linear, spacingOf } from "./geometry.ts";
import type { Matrix3, Vector } from "./matrices.ts";
import { column, determinant, fromColumns, nearestRotation, quaternionOf, rotationOf } from "./matrices.ts";
import type { Affine, Volume } from "./types.ts";
import { UserMessage } from "./types.ts";

export const LONGEST_HEADER = 540; // bytes, of NIfTI-2; those of NIfTI-1 are 348
const CODES = [0, 1, 2, 3, 4]; // of sform and qform, 5 (template other) included below
const REMEDY = "repair the file's header";

export interface Qform {
  readonly code: number;
  readonly factor: number; // 1 or -1, of the third axis
  readonly spacing: Vector;
  readonly quaternion: Vector; // the last three numbers
  readonly offset: Vector;
}

export interface NiftiHeader {
  readonly little: boolean;
  readonly bytes: Uint8Array;
  readonly shape: readonly [number, number, number];
  readonly datatype: number;
  readonly offset: number; // of the voxels
  readonly slope: number;
  readonly intercept: number;
  readonly affine: Affine;
  readonly qform: Qform;
  readonly sformCode: number;
  readonly units: number; // codes of space and time, as they stand
}

/** Where the fields lie; NIfTI-2 has wider numbers in another order. */
interface Fields {
  readonly size: number;
  dim(index: number): number;
  pixdim(index: number): number;
  readonly datatype: number;
  readonly offset: number;
  readonly slope: number;
  readonly intercept: number;
  readonly qformCode: number;
  readonly sformCode: number;
  quaternion(index: number): number;
  place(index: number): number; // of the qform
  srow(row: number, column: number): number;
  readonly units: number;
}

/** Whether bytes begin as a NIfTI file does; of a pair (.hdr and .img) the header as well. */
export function isNifti(head: Uint8Array): boolean {
  return ["n+1", "ni1"].includes(text(head, 344)) || ["n+2", "ni2"].includes(text(head, 4));
}

/** Throws UserMessage for what is no header of a volume of three axes. */
export function readHeader(head: Uint8Array, name: string): NiftiHeader {
  if (text(head, 344) === "ni1" || text(head, 4) === "ni2") {
    throw new UserMessage(`'${name}' is the header of a pair of files`, "save the volume as one file, .nii or .nii.gz");
  }
  const [fields, little] = fieldsOf(head, name);
  const shape = shapeOf(fields, name);
  if (!Number.isFinite(fields.offset) || Math.trunc(fields.offset) < fields.size + 4) {
    throw damaged(name, "its header says that the voxels lie within the header");
  }
  const [slope, intercept] = scalingOf(fields, name);
  const qform = qformOf(fields);
  const sformCode = knownCode(fields.sformCode);
  const affine = affineOf(fields, shape, qform, sformCode, name);
  const fault = faultOfAffine(affine);
  if (fault !== null) throw new UserMessage(`'${name}': ${fault}`, REMEDY);
  return {
    little,
    bytes: head.slice(0, fields.size),
    shape,
    datatype: fields.datatype,
    offset: Math.trunc(fields.offset),
    slope,
    intercept,
    affine,
    qform,
    sformCode,
    units: fields.units,
  };
}

function text(head: Uint8Array, place: number): string {
  return String.fromCharCode(...head.subarray(place, place + 3));
}

function fieldsOf(head: Uint8Array, name: string): [Fields, boolean] {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const second = text(head, 4) === "n+2";
  if (head.length < (second ? 540 : 348)) throw damaged(name, "it ends within its header");
  if (!second) {
    const dimensions = view.getInt16(40, true);
    const little = dimensions >= 1 && dimensions <= 7;
    return [firstKind(view, little), little];
  }
  const little = view.getInt32(0, true) === 540;
  return [secondKind(view, little), little];
}

function firstKind(view: DataView, little: boolean): Fields {
  const int = (place: number): number => view.getInt16(place, little);
  const float = (place: number): number => view.getFloat32(place, little);
  return {
    size: 348,
    dim: (index) => int(40 + 2 * index),
    pixdim: (index) => float(76 + 4 * index),
    datatype: int(70),
    offset: float(108),
    slope: float(112),
    intercept: float(116),
    qformCode: int(252),
    sformCode: int(254),
    quaternion: (index) => float(256 + 4 * index),
    place: (index) => float(268 + 4 * index),
    srow: (row, col) => float(280 + 16 * row + 4 * col),
    units: view.getUint8(123),
  };
}

function secondKind(view: DataView, little: boolean): Fields {
  const float = (place: number): number => view.getFloat64(place, little);
  const wide = (place: number): number => Number(view.getBigInt64(place, little));
  return {
    size: 540,
    dim: (index) => wide(16 + 8 * index),
    pixdim: (index) => float(104 + 8 * index),
    datatype: view.getInt16(12, little),
    offset: wide(168),
    slope: float(176),
    intercept: float(184),
    qformCode: view.getInt32(344, little),
    sformCode: view.getInt32(348, little),
    quaternion: (index) => float(352 + 8 * index),
    place: (index) => float(376 + 8 * index),
    srow: (row, col) => float(400 + 32 * row + 8 * col),
    units: view.getInt32(500, little) & 0xff,
  };
}

function shapeOf(fields: Fields, name: string): [number, number, number] {
  const count = fields.dim(0);
  if (count < 1 || count > 7) throw damaged(name, `a NIfTI header of ${count} dimensions`);
  const shape = Array.from({ length: count }, (_, index) => fields.dim(index + 1));
  if (shape.length !== 3) {
    const what = `'${name}' is a ${count}-D volume of shape ${shape.join("×")}; 3-D is expected`;
    throw new UserMessage(what, "save each channel or time point as its own 3-D file");
  }
  if (Math.min(...shape) < 1) {
    throw new UserMessage(`'${name}' is an empty volume of shape ${shape.join("×")}`, "export it again");
  }
  return shape as [number, number, number];
}

function scalingOf(fields: Fields, name: string): [number, number] {
  const { slope, intercept } = fields;
  if (slope === 0 || !Number.isFinite(slope)) return [1, 0];
  if (!Number.isFinite(intercept)) throw damaged(name, `a valid slope but an intercept of ${intercept}`);
  return [slope, intercept];
}

function qformOf(fields: Fields): Qform {
  const three = (read: (index: number) => number): Vector => [read(0), read(1), read(2)];
  return {
    code: knownCode(fields.qformCode),
    factor: fields.pixdim(0) === -1 ? -1 : 1,
    spacing: three((index) => Math.abs(fields.pixdim(index + 1)) || 1), // as nibabel mends 0 and negative ones
    quaternion: three(fields.quaternion),
    offset: three(fields.place),
  };
}

function knownCode(code: number): number {
  return CODES.includes(code) || code === 5 ? code : 0;
}

function affineOf(
  fields: Fields,
  shape: readonly [number, number, number],
  qform: Qform,
  sformCode: number,
  name: string,
): Affine {
  const last = [0, 0, 0, 1];
  if (sformCode > 0) return [...[0, 1, 2].map((row) => [0, 1, 2, 3].map((col) => fields.srow(row, col))), last];
  if (qform.code > 0) return qformAffine(qform, name);
  // No transform at all: the centre lies at 0, and the first axis runs from right to left.
  const [x, y, z] = qform.spacing;
  const steps = [-x, y, z];
  return [...steps.map((step, row) => [...[0, 1, 2].map((col) => (col === row ? step : 0)), -step * ((shape[row]! - 1) / 2)]), last];
}

function qformAffine(qform: Qform, name: string): Affine {
  let rotation: Matrix3;
  try {
    rotation = rotationOf(...qform.quaternion);
  } catch {
    throw new UserMessage(`'${name}' has a quaternion that is no rotation`, REMEDY);
  }
  const [x, y, z] = qform.spacing;
  const steps = [x, y, z * qform.factor];
  const rows = rotation.map((row, r) => [...row.map((value, c) => value * steps[c]!), qform.offset[r]!]);
  return [...rows, [0, 0, 0, 1]];
}

/** The header (348 bytes and 4 of padding) of labels on the grid of a volume: its transforms, codes and units. */
export function labelHeader(volume: Pick<Volume, "name" | "shape" | "affine" | "header">): Uint8Array<ArrayBuffer> {
  const own = volume.header === null ? null : readHeader(volume.header, volume.name);
  const qform = own?.qform ?? qformFor(volume.affine);
  const bytes = new Uint8Array(352);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, 348, true);
  bytes[38] = 0x72; // 'r': regular
  [3, ...volume.shape, 1, 1, 1, 1].forEach((length, index) => view.setInt16(40 + 2 * index, length, true));
  view.setInt16(70, 2, true); // uint8
  view.setInt16(72, 8, true); // bits
  [qform.factor, ...qform.spacing, 1, 1, 1, 1].forEach((length, index) => view.setFloat32(76 + 4 * index, length, true));
  view.setFloat32(108, 352, true);
  view.setFloat32(112, NaN, true); // no scaling, as nibabel writes it
  view.setFloat32(116, NaN, true);
  bytes[123] = own?.units ?? 2; // mm
  view.setInt16(252, qform.code, true);
  view.setInt16(254, own?.sformCode ?? 1, true);
  [...qform.quaternion, ...qform.offset].forEach((value, index) => view.setFloat32(256 + 4 * index, value, true));
  volume.affine.slice(0, 3).flat().forEach((value, index) => view.setFloat32(280 + 4 * index, value, true));
  bytes.set([0x6e, 0x2b, 0x31], 344); // n+1
  return bytes;
}

/** The nearest transform without shears: NIfTI's quaternions have none. */
function qformFor(affine: Affine): Qform {
  const spacing = spacingOf(affine);
  const matrix = linear(affine);
  const unit = ([0, 1, 2] as const).map((axis) => column(matrix, axis).map((value) => value / spacing[axis])) as unknown as [
    Vector,
    Vector,
    Vector,
  ];
  const factor = determinant(fromColumns(...unit)) > 0 ? 1 : -1;
  const third = unit[2].map((value) => value * factor) as unknown as Vector;
  const rotation = nearestRotation(fromColumns(unit[0], unit[1], third));
  const offset = affine.slice(0, 3).map((row) => row[3]!) as unknown as Vector;
  return { code: 1, factor, spacing, quaternion: quaternionOf(rotation), offset };
}
