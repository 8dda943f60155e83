/** What the header of one DICOM file says of its slice; as sdseg/io/dicom_header.py. */

import dicomParser from "dicom-parser";
import type { DataSet } from "dicom-parser";

import { damaged } from "./damage.ts";
import { inflate, joined } from "./inflate.ts";
import { LIMITS } from "./limits.ts";
import type { Vector } from "./matrices.ts";
import { dot, norm } from "./matrices.ts";
import type { Source } from "./source.ts";
import { UserMessage } from "./types.ts";

export const PIXELS = "x7fe00010";
const SYNTAX = "x00020010"; // the transfer syntax
export const NO_IMAGES = ["SEG", "SR", "RTSTRUCT", "RTDOSE", "RTPLAN", "PR", "KO", "DOC", "REG"];
const SUFFIXES = [".dcm", ".dicom", ".ima"];
const IMPLICIT = "1.2.840.10008.1.2";
const EXPLICIT = "1.2.840.10008.1.2.1";
const DEFLATED = "1.2.840.10008.1.2.1.99";
const BIG_ENDIAN = "1.2.840.10008.1.2.2";
export const PLAIN = [IMPLICIT, EXPLICIT, BIG_ENDIAN]; // transfer syntaxes: pixels as they are
const SQUARE = 0.01; // how far directions may be from length 1 and from right angles: files hold six digits
const WHOLE = "replace it by a whole copy, or take it away";

/** Numbers that are missing or none are left out of their lists. */
export interface Slice {
  readonly source: Source;
  readonly series: string;
  readonly number: string; // of the series, as the scanner counts, or empty
  readonly description: string;
  readonly modality: string;
  readonly localiser: boolean;
  readonly position: readonly number[]; // x, y, z of the first pixel's centre, mm, LPS
  readonly orientation: readonly number[]; // directions of a row and of a column, LPS
  readonly spacing: readonly number[]; // mm between rows, mm between columns
  readonly columns: number;
  readonly rows: number;
  readonly frames: number;
  readonly colours: number;
  readonly slope: number;
  readonly intercept: number;
  readonly rescaling: readonly number[]; // slope and intercept as far as they are given
  readonly lacking: number; // bytes of pixels that are promised and not there; 0 also where they are compressed
  readonly syntax: string; // the transfer syntax
  readonly tables: boolean; // units by other ways than slope and intercept: modality LUT, real world value mapping
  readonly bits: Bits;
}

/** How a value lies in its bytes. */
export interface Bits {
  readonly allocated: number;
  readonly stored: number;
  readonly high: number;
  readonly signed: boolean;
  readonly inverted: boolean; // MONOCHROME1: the lowest value is white
  readonly bigEndian: boolean;
}

export function isMarked(data: Uint8Array): boolean {
  return String.fromCharCode(...data.subarray(128, 132)) === "DICM";
}

/** Whether a file is DICOM by the mark in its beginning or by its suffix: old files lack the mark. */
export function isDicom(data: Uint8Array, name: string): boolean {
  if (name.toUpperCase() === "DICOMDIR") return false; // an index
  return isMarked(data) || SUFFIXES.some((suffix) => name.toLowerCase().endsWith(suffix));
}

export function parse(data: Uint8Array, untilPixels: boolean): DataSet {
  const options = {
    ...(untilPixels ? { untilTag: PIXELS } : {}),
    ...(isMarked(data) ? {} : { TransferSyntaxUID: IMPLICIT }),
  };
  return dicomParser.parseDicom(isMarked(data) ? unpackedWhole(data) : data, options);
}

/** A file that is deflated behind its first header as one that is not; any other as it is. */
function unpackedWhole(data: Uint8Array): Uint8Array {
  const meta = dicomParser.readPart10Header(data);
  const syntax = meta.elements[SYNTAX];
  if (syntax === undefined || meta.string(SYNTAX) !== DEFLATED) return data;
  const groupLength = meta.elements["x00020000"];
  if (groupLength === undefined) throw new Error("no length of the first header");
  const start = groupLength.dataOffset + 4 + (meta.uint32("x00020000") ?? 0);
  const most = LIMITS.unpacked / 4; // of one slice
  const rest = inflate(data.subarray(start), "deflate", most, "some");
  if (rest.length >= most) throw new Error("more than any slice holds");
  const whole = joined([data.slice(0, start), rest]);
  whole.fill(0, syntax.dataOffset + EXPLICIT.length, syntax.dataOffset + syntax.length); // it ends in .99
  return whole;
}

/** Throws UserMessage for a file that is no DICOM, or damaged. */
export function readHeader(data: Uint8Array, source: Source): Slice {
  let header: Slice | null = null;
  try {
    header = sliceOf(parse(data, true), source);
  } catch {
    header = null; // the parser throws nearly anything at damaged bytes
  }
  if (header === null || !(isMarked(data) || header.modality)) {
    throw new UserMessage(`'${source.name}' cannot be read: ${isMarked(data) ? "damaged" : "not a DICOM file"}`, WHOLE);
  }
  if (!header.modality && !(header.rows && header.columns)) {
    throw damaged(source.name, "its header ends before it says what it shows");
  }
  return header;
}

function sliceOf(dataset: DataSet, source: Source): Slice {
  const text = (tag: string): string => (dataset.string(tag) ?? "").trim();
  const count = (tag: string): number => dataset.uint16(tag) ?? 0;
  const numbers = (tag: string): number[] => decimals(text(tag));
  const syntax = dataset.string(SYNTAX) ?? IMPLICIT;
  const [rows, columns] = [count("x00280010"), count("x00280011")];
  const frames = Math.max(1, Math.trunc(numbers("x00280008")[0] ?? 1));
  const colours = count("x00280002") || 1;
  const allocated = count("x00280100") || 16;
  const stored = count("x00280101") || allocated;
  const pixels = dataset.elements[PIXELS];
  const rescaling = [...numbers("x00281053"), ...numbers("x00281052")];
  const promised = (rows * columns * frames * colours * allocated) / 8;
  const there = pixels === undefined ? 0 : Math.min(pixels.length, dataset.byteArray.length - pixels.dataOffset);
  return {
    source,
    series: text("x0020000e"),
    number: text("x00200011"),
    description: text("x0008103e"),
    modality: text("x00080060"),
    localiser: text("x00080008").toUpperCase().includes("LOCALIZER"),
    position: numbers("x00200032"),
    orientation: numbers("x00200037"),
    spacing: numbers("x00280030"),
    columns,
    rows,
    frames,
    colours,
    slope: numbers("x00281053")[0] ?? 1,
    intercept: numbers("x00281052")[0] ?? 0,
    rescaling,
    lacking: PLAIN.includes(syntax) ? Math.max(0, promised - there) : 0,
    syntax,
    tables: ["x00283000", "x00409096"].some((tag) => dataset.elements[tag] !== undefined),
    bits: {
      allocated,
      stored,
      high: dataset.elements["x00280102"] === undefined ? stored - 1 : count("x00280102"),
      signed: count("x00280103") === 1,
      inverted: text("x00280004") === "MONOCHROME1",
      bigEndian: syntax === BIG_ENDIAN,
    },
  };
}

/** Numbers separated by backslashes; none where one of them is no number. */
function decimals(text: string): number[] {
  if (text === "") return [];
  const values = text.split("\\").map((part) => (part.trim() === "" ? NaN : Number(part)));
  return values.some(Number.isNaN) ? [] : values;
}

/** Throws UserMessage unless a header promises one grey slice with a place in the patient, and the file can hold it. */
export function checkSlice(one: Slice): void {
  const { name } = one.source;
  if (one.frames > 1 || one.colours !== 1) {
    const what = `'${name}' has several frames or colours; one grey slice per file is expected`;
    throw new UserMessage(what, "convert the series to NIfTI");
  }
  const missing = [
    ...(one.position.length === 3 ? [] : ["(0020,0032)"]),
    ...(one.orientation.length === 6 ? [] : ["(0020,0037)"]),
    ...(one.spacing.length === 2 ? [] : ["(0028,0030)"]),
  ];
  if (missing.length > 0) {
    const what = `'${name}' has no place in the patient: ${missing.join(" and ")} missing`;
    throw new UserMessage(what, "take files away that are no slices (reports, scouts), or convert the series to NIfTI");
  }
  const fault = faultOf(one);
  if (fault !== null) throw new UserMessage(`'${name}': ${fault}`, "replace it by a whole copy, or export the series again");
}

function faultOf(one: Slice): string | null {
  const { rows, columns, lacking, spacing } = one;
  if (columns < 1 || rows < 1) return `an image of ${rows} rows and ${columns} columns`;
  if (lacking > 0) {
    return `truncated, or with a wrong header: it promises ${rows} rows and ${columns} columns, and ${lacking} bytes of their pixels are missing`;
  }
  if (!spacing.every((length) => length > 0 && Number.isFinite(length))) {
    return `a pixel spacing of ${spacing.join(" and ")} mm`;
  }
  const [row, column] = directionsOf(one);
  const crooked = Math.max(Math.abs(norm(row) - 1), Math.abs(norm(column) - 1), Math.abs(dot(row, column)));
  if (!(crooked <= SQUARE)) {
    return `directions of rows and columns (${one.orientation.join(", ")}) that are no two of length 1 at right angles`;
  }
  if (!one.position.every(Number.isFinite)) return "a position that is NaN or infinite";
  if (!one.rescaling.every(Number.isFinite) || one.slope === 0) {
    return `a rescale slope of ${one.slope}: every voxel would have one value`;
  }
  return null;
}

export function directionsOf(one: Slice): [Vector, Vector] {
  return [one.orientation.slice(0, 3) as unknown as Vector, one.orientation.slice(3, 6) as unknown as Vector];
}
