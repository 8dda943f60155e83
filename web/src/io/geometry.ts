/**
 * The grid of a volume: slices of whatever axes its file has, and the way back; as sdseg/io/geometry.py.
 *
 * Nothing is copied but the slice that is asked for: an array is read along other axes by other steps.
 */

import type { Matrix3, Vector } from "./matrices.ts";
import { column, determinant, fromColumns, nearestRotation, norm } from "./matrices.ts";
import type { Affine, Plane, Slices, Volume } from "./types.ts";

const GRID_TOLERANCE = 0.05; // of a voxel: affines are rounded by some writers
const FLAT = 1e-4; // volume of the cell that three directions of length 1 span: 1 where they are at right angles

/** How the voxels of a file are reached slice by slice, row by row: the index of the first, and the steps. */
export interface Walk {
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
  readonly first: number;
  readonly step: Vector; // to the next slice, row, column
  readonly spacing: Vector; // mm between slices, rows, columns
}

export function linear(affine: Affine): Matrix3 {
  return affine.slice(0, 3).map((row) => row.slice(0, 3)) as unknown as Matrix3;
}

/** Millimetres between voxels along the file's axes. */
export function spacingOf(affine: Affine): [number, number, number] {
  const matrix = linear(affine);
  return [norm(column(matrix, 0)), norm(column(matrix, 1)), norm(column(matrix, 2))];
}

/** Why an affine gives voxels no place of their own, in words, or null where it does. */
export function faultOfAffine(affine: Affine): string | null {
  if (!affine.flat().every(Number.isFinite)) return "the place, spacing or direction of its voxels is NaN or infinite";
  if (Math.min(...spacingOf(affine)) === 0) return "voxels lie 0 mm apart: a spacing or a direction is zero";
  const cell = Math.abs(determinant(directions(affine)));
  return cell < FLAT ? "the affine places all voxels in one plane" : null;
}

function directions(affine: Affine): Matrix3 {
  const matrix = linear(affine);
  const unit = (index: 0 | 1 | 2): Vector => {
    const own = column(matrix, index);
    const length = norm(own);
    return [own[0] / length, own[1] / length, own[2] / length];
  };
  return fromColumns(unit(0), unit(1), unit(2));
}

/** Of each array axis: the patient's axis it follows (0 right, 1 front, 2 head), and 1 or -1 for the direction. */
export function orientationOf(affine: Affine): [number, 1 | -1][] {
  const rotation = nearestRotation(directions(affine)).map((row) => [...row]);
  return [0, 1, 2].map((axis) => {
    let patient = 0;
    for (const other of [1, 2]) {
      if (Math.abs(rotation[other]![axis]!) > Math.abs(rotation[patient]![axis]!)) patient = other;
    }
    const sign = rotation[patient]![axis]! < 0 ? -1 : 1;
    rotation[patient]!.fill(0); // taken
    return [patient, sign];
  });
}

// Of the patient's axes: that across the slices, that down the rows, that along a row; the last two run backwards.
export const AXES: Readonly<Record<Plane, Vector>> = { axial: [2, 1, 0], coronal: [1, 2, 0], sagittal: [0, 2, 1] };

/** As sdseg/data/slicing.py turns volumes: slices as radiologists see them. */
export function walkOf(volume: Volume, plane: Plane): Walk {
  const { shape } = volume;
  const strides = [1, shape[0], shape[0] * shape[1]];
  const oriented = orientationOf(volume.affine);
  const spacing = spacingOf(volume.affine);
  let first = 0;
  const along = AXES[plane].map((patient, place) => {
    const axis = oriented.findIndex(([own]) => own === patient);
    const wanted = place === 0 ? 1 : -1;
    const length = shape[axis]!;
    const forwards = oriented[axis]![1] === wanted;
    if (!forwards) first += strides[axis]! * (length - 1);
    return { length, step: forwards ? strides[axis]! : -strides[axis]!, mm: spacing[axis]! };
  });
  const [slices, rows, columns] = along as [Along, Along, Along];
  return {
    count: slices.length,
    rows: rows.length,
    columns: columns.length,
    first,
    step: [slices.step, rows.step, columns.step],
    spacing: [slices.mm, rows.mm, columns.mm],
  };
}

interface Along {
  readonly length: number;
  readonly step: number;
  readonly mm: number;
}

export function toSlices(volume: Volume, plane: Plane): Slices {
  const { count, rows, columns, first, step, spacing } = walkOf(volume, plane);
  const { data } = volume;
  return {
    count,
    rows,
    columns,
    spacing,
    slice(index: number): Float32Array {
      const pixels = new Float32Array(rows * columns);
      for (let y = 0, to = 0; y < rows; y++) {
        let from = first + index * step[0] + y * step[1];
        for (let x = 0; x < columns; x++, from += step[2]) pixels[to++] = data[from]!;
      }
      return pixels;
    },
  };
}

/** Labels by slice, in the order of the volume's file; the exact inverse of `toSlices`. */
export function fromSlices(volume: Volume, slices: readonly Uint8Array[], plane: Plane): Uint8Array {
  const { count, rows, columns, first, step } = walkOf(volume, plane);
  if (slices.length !== count || slices.some((slice) => slice.length !== rows * columns)) {
    throw new Error(`${slices.length} slices, where ${count} of ${rows}×${columns} are expected`);
  }
  const labels = new Uint8Array(count * rows * columns);
  slices.forEach((slice, index) => {
    for (let y = 0, from = 0; y < rows; y++) {
      let to = first + index * step[0] + y * step[1];
      for (let x = 0; x < columns; x++, to += step[2]) labels[to] = slice[from++]!;
    }
  });
  return labels;
}

/** Why two volumes do not lie on one grid, in words, or null where they do: as sdseg/io/geometry.py compares them. */
export function differenceOfGrids(one: Volume, other: Volume): string | null {
  const [own, others] = [corners(one), corners(other)];
  if (own.shape.some((length, axis) => length !== others.shape[axis])) {
    return `${one.shape.join(" × ")} and ${other.shape.join(" × ")} voxels`;
  }
  const apart = Math.max(...own.places.flatMap((place, at) =>
    place.map((value, axis) => Math.abs(value - others.places[at]![axis]!))));
  if (apart <= GRID_TOLERANCE * Math.min(...spacingOf(one.affine))) return null;
  return `their corners lie up to ${Number(apart.toPrecision(3))} mm apart`;
}

/** Voxels along the patient's axes, and where the outermost ones lie, in mm. */
function corners(volume: Volume): { shape: number[]; places: number[][] } {
  const oriented = orientationOf(volume.affine);
  const axes = [0, 1, 2].map((patient) => oriented.findIndex(([own]) => own === patient));
  const places = [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => {
    const index = [0, 0, 0];
    axes.forEach((axis, patient) => {
      const far = ((bits >> patient) & 1) === 1;
      index[axis] = far === (oriented[axis]![1] === 1) ? volume.shape[axis]! - 1 : 0;
    });
    return volume.affine.slice(0, 3).map((row) =>
      row[0]! * index[0]! + row[1]! * index[1]! + row[2]! * index[2]! + row[3]!);
  });
  return { shape: axes.map((axis) => volume.shape[axis]!), places };
}

export function millilitresPerVoxel(volume: Volume): number {
  return Math.abs(determinant(linear(volume.affine))) / 1000; // of mm³
}
