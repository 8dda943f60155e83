/** What is read from files, as every other module has it; and the one kind of error a user is shown. */

/** Pixel values as they are stored: of 8 or 16 bits. */
export type Pixels = Uint8Array | Uint16Array;

/** Voxel values after the rescaling that the file's header asks for. */
export type Voxels =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array;

/** Four rows of four: voxel indices (i, j, k, 1) to millimetres in RAS+, as nibabel's `affine`. */
export type Affine = readonly (readonly number[])[];

/** An image as it is seen: the camera's orientation applied, transparency dropped, palettes resolved. */
export interface Picture {
  readonly kind: "image";
  readonly name: string; // of the file, or of the entry of a zip; never markup
  readonly width: number; // columns
  readonly height: number; // rows
  readonly channels: 1 | 3; // grey, or red, green and blue
  readonly data: Pixels; // [height, width, channels], row 0 on top; 16 bits are kept
  readonly format: "png" | "jpeg" | "bmp" | "tiff";
  readonly notes: readonly string[]; // what is odd about it, in words
}

/** A volume as its file has it; nothing is turned before `toSlices`. */
export interface Volume {
  readonly kind: "volume";
  readonly name: string;
  readonly shape: readonly [number, number, number]; // voxels along i, j, k
  readonly spacing: readonly [number, number, number]; // mm along i, j, k
  readonly affine: Affine;
  readonly data: Voxels; // i runs fastest: data[i + shape[0] * (j + shape[1] * k)]; the scanner's own values
  readonly source: "nifti" | "dicom";
  readonly modality: "ct" | "mr" | "pet" | "ultrasound" | "other" | null; // by the header; null: it does not say
  readonly header: Uint8Array | null; // of a NIfTI file, for the mask in the same geometry
  readonly notes: readonly string[];
}

export type Input = Picture | Volume;

/** In which volumes are cut, by the patient's axes. */
export type Plane = "axial" | "coronal" | "sagittal";

/**
 * Slices as radiologists see them: axial and coronal ones have the patient's right at column 0, sagittal ones the
 * front; row 0 is the front of an axial slice and the head of the others. Slice 0 is the lowest, hindmost, leftmost.
 */
export interface Slices {
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
  readonly spacing: readonly [number, number, number]; // mm between slices, rows, columns
  slice(index: number): Float32Array; // [rows, columns], a copy
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Something the user can do something about: shown as text, once, and the page goes on. */
export class UserMessage extends Error {
  constructor(
    readonly what: string, // what is wrong, and with which file
    readonly remedy: string, // what to do about it
  ) {
    super(`${what}: ${remedy}`);
    this.name = "UserMessage";
  }
}

/*
 * What the modules of this folder give:
 *
 * open.ts      openFiles(files: readonly File[]): Promise<Input[]>
 *                Images, NIfTI (.nii, .nii.gz), DICOM files or a folder of them (one Volume per series, by
 *                SeriesInstanceUID), and zips of any of these. By content, not by name. Throws UserMessage.
 * geometry.ts  toSlices(volume: Volume, plane: Plane): Slices
 *              fromSlices(volume: Volume, slices: readonly Uint8Array[], plane: Plane): Uint8Array
 *                The file's own order, exact inverse.
 *              millilitresPerVoxel(volume: Volume): number
 * resize.ts    resizeImage<T extends Pixels | Float32Array>(data: T, from: Size, to: Size, channels: number): T
 *              restoreProbability(data: Float32Array, from: Size, to: Size): Float32Array
 *                Both as OpenCV computes them (sdseg/data/transforms.py).
 * window.ts    toRgb8(picture: Picture): Uint8Array                    [H, W, 3], 16 bits to 8 as sdseg/io/images.py
 *              toDisplay(slice: Float32Array, window: readonly [number, number]): Uint8ClampedArray   grey, 0 to 255
 * save.ts      encodePng(data: Uint8Array, size: Size, channels: 1 | 3): Uint8Array
 *              encodeNifti(volume: Volume, labels: Uint8Array): Uint8Array    gzipped, the file's own geometry
 *
 * They run in a worker as well as in Node (tests): no DOM but File, Blob and DecompressionStream, and for JPEG
 * createImageBitmap with OffscreenCanvas.
 */
