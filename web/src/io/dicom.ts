/** DICOM series to volumes: sorted by position, checked for gaps; as sdseg/io/dicom.py and dicom_series.py. */

import { damaged } from "./damage.ts";
import type { Slice } from "./dicom_header.ts";
import { NO_IMAGES, checkSlice, directionsOf } from "./dicom_header.ts";
import { checkPacking, rangeOf, readPixels } from "./dicom_pixels.ts";
import { faultOfAffine, spacingOf } from "./geometry.ts";
import { checkVoxels } from "./limits.ts";
import type { Vector } from "./matrices.ts";
import { cross, dot, norm } from "./matrices.ts";
import { oddSpacing } from "./spacing.ts";
import type { Affine, Volume, Voxels } from "./types.ts";
import { UserMessage } from "./types.ts";
import { checkNumbers } from "./values.ts";

const GAP = 0.02; // positions are rounded in files: distances may differ by this part of the usual one
const LISTED = 4; // problems that are named, of however many
const MODALITIES: Readonly<Record<string, Volume["modality"]>> = { CT: "ct", MR: "mr", PT: "pet", US: "ultrasound" };

export interface Series {
  readonly title: string;
  readonly slices: readonly Slice[];
  readonly notes: readonly string[];
}

/** The series of slices among some files, and why others are left out. */
export function seriesOf(headers: readonly Slice[]): { series: Series[]; skipped: string[] } {
  const grouped = new Map<string, Slice[]>();
  for (const header of headers) {
    const members = grouped.get(header.series);
    if (members === undefined) grouped.set(header.series, [header]);
    else members.push(header);
  }
  const [series, skipped]: [Series[], string[]] = [[], []];
  for (const [uid, members] of grouped) {
    const first = members[0]!;
    const slices = members.filter((one) => !one.localiser);
    const title = `series '${first.description || first.number || uid}'`;
    if (NO_IMAGES.includes(first.modality)) {
      skipped.push(`${title}, ${members.length} file(s): ${first.modality}, not images of a patient`);
    } else if (slices.length === 0) {
      skipped.push(`${title}, ${members.length} file(s): a localiser`);
    } else {
      const localisers = members.filter((one) => one.localiser);
      const notes = localisers.map((one) => `left out, a localiser: ${one.source.name}`);
      series.push({ title, slices, notes });
    }
  }
  series.sort((a, b) => Number(a.slices[0]!.number || Infinity) - Number(b.slices[0]!.number || Infinity) || 0);
  return { series, skipped };
}

/** Throws UserMessage unless the slices are single, parallel and evenly spaced, and their pixels whole. */
export async function readSeries(series: Series, name: string): Promise<Volume> {
  for (const one of series.slices) {
    checkSlice(one);
    checkPacking(one);
  }
  checkAlike(series.slices, series.title);
  const [, , across] = axesOf(series.slices[0]!);
  const heights = new Map(series.slices.map((one) => [one, dot(one.position as unknown as Vector, across)]));
  const ordered = [...series.slices].sort((a, b) => heights.get(a)! - heights.get(b)!);
  checkDistances(ordered, series.title);
  const first = ordered[0]!;
  const shape = [first.columns, first.rows, ordered.length] as const;
  checkVoxels(shape, name);
  const affine = affineOf(ordered);
  const fault = faultOfAffine(affine);
  if (fault !== null) throw new UserMessage(`${series.title}: ${fault}`, "export the series again");

  const voxels = roomFor(ordered, shape[0] * shape[1] * shape[2]);
  for (const [index, one] of ordered.entries()) {
    await readPixels(await one.source.bytes(), one, voxels, index * shape[0] * shape[1]);
  }
  checkNumbers(voxels, name);
  const modality = first.modality === "" ? null : (MODALITIES[first.modality] ?? "other");
  const notes = [...series.notes, ...oddSpacing(affine)];
  return { kind: "volume", name, shape, spacing: spacingOf(affine), affine, data: voxels, source: "dicom", modality, header: null, notes };
}

/** All slices must have one size, spacing and direction; a scout among them is the usual exception. */
function checkAlike(slices: readonly Slice[], title: string): void {
  const counts = new Map<string, number>();
  for (const one of slices) counts.set(gridOf(one), (counts.get(gridOf(one)) ?? 0) + 1);
  const usual = [...counts].reduce((most, each) => (each[1] > most[1] ? each : most))[0];
  const strange = slices.filter((one) => gridOf(one) !== usual);
  if (strange.length > 0) {
    const what = `${title}: ${strange.length} of ${slices.length} slices differ from the others in size, pixel spacing or direction`;
    const lines = strange.map((one) => `${one.source.name}, ${one.columns}×${one.rows} pixels`);
    throw new UserMessage(`${what} (${listed(lines)})`, "move them to a folder of their own");
  }
}

function gridOf(one: Slice): string {
  const rounded = (values: readonly number[], digits: number): string => values.map((value) => (value + 0).toFixed(digits).replace(/^-(0\.?0*)$/, "$1")).join();
  return `${one.columns} ${one.rows} ${rounded(one.spacing, 4)} ${rounded(one.orientation, 3)}`;
}

function checkDistances(ordered: readonly Slice[], title: string): void {
  if (ordered.length < 2) throw new UserMessage(`${title}: one slice; a volume has at least two`, "give the whole series");
  const steps = ordered.slice(1).map((one, index) => difference(one.position, ordered[index]!.position));
  const lengths = steps.map(norm);
  const usual = median(lengths);
  const middle = [0, 1, 2].map((axis) => median(steps.map((step) => step[axis]!)));
  const problems: string[] = [];
  steps.forEach((step, index) => {
    const names = `${ordered[index]!.source.name} and ${ordered[index + 1]!.source.name}`;
    const length = lengths[index]!;
    const apart = `${names} lie ${Number(length.toPrecision(4))} mm apart, the others ${Number(usual.toPrecision(4))}`;
    if (length < 0.01) problems.push(`${names} lie at the same place`);
    else if (length > (1 + GAP) * usual) problems.push(`${apart}: slices are missing between`);
    else if (length < (1 - GAP) * usual) problems.push(apart);
    else if (Math.max(...difference(step, middle).map(Math.abs)) > GAP * usual) {
      problems.push(`${names} are shifted sideways against each other`);
    }
  });
  if (problems.length > 0) {
    const what = `${title}: the slices are not evenly spaced (${listed(problems)})`;
    throw new UserMessage(what, "complete the series, or take doubles away");
  }
}

function listed(lines: readonly string[]): string {
  const more = lines.length - LISTED;
  return lines.slice(0, LISTED).join("; ") + (more > 0 ? `; and ${more} more` : "");
}

function difference(a: readonly number[], b: readonly number[]): Vector {
  return [a[0]! - b[0]!, a[1]! - b[1]!, a[2]! - b[2]!];
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

function axesOf(one: Slice): [Vector, Vector, Vector] {
  const [row, column] = directionsOf(one);
  return [row, column, cross(row, column)];
}

/** Leads from slice to slice as the files lie, so that a tilted gantry gives a sheared grid; LPS becomes RAS. */
function affineOf(ordered: readonly Slice[]): Affine {
  const [first, last] = [ordered[0]!, ordered.at(-1)!];
  const [row, column] = axesOf(first);
  const [betweenRows, betweenColumns] = first.spacing as [number, number];
  const step = difference(last.position, first.position).map((value) => value / (ordered.length - 1));
  const lines = [0, 1, 2].map((axis) => {
    const sign = axis === 2 ? 1 : -1;
    const line = [row[axis]! * betweenColumns, column[axis]! * betweenRows, step[axis]!, first.position[axis]!];
    return line.map((value) => sign * value);
  });
  return [...lines, [0, 0, 0, 1]];
}

/** The smallest array that holds every value the slices can have. */
function roomFor(slices: readonly Slice[], length: number): Voxels {
  const whole = slices.every((one) => Number.isInteger(one.slope) && Number.isInteger(one.intercept));
  if (!whole) return new Float64Array(length);
  const ranges = slices.map(rangeOf);
  const low = Math.min(...ranges.map((range) => range[0]));
  const high = Math.max(...ranges.map((range) => range[1]));
  if (low >= -32_768 && high <= 32_767) return new Int16Array(length);
  if (low >= 0 && high <= 65_535) return new Uint16Array(length);
  if (low >= -(2 ** 31) && high < 2 ** 31) return new Int32Array(length);
  return new Float64Array(length);
}

export function noSlices(name: string, reasons: readonly string[]): UserMessage {
  if (reasons.length === 0) return damaged(name, "no DICOM slices in it");
  return new UserMessage(`no series of slices (${listed(reasons)})`, "give a folder with one series of slices");
}
