/** What the page knows of its model: written into it by `sdseg export --to web`. */

import type { Plane } from "./io/types.ts";

export type StoredType = "uint8" | "int16" | "uint16" | "int32" | "float16" | "float32";

/** How each whole volume is brought to one scale, as sdseg/config/normalisation.py has it. */
export type Normalisation =
  | { readonly method: "percentiles"; readonly low: number; readonly high: number; readonly nonzero: boolean }
  | { readonly method: "z-score"; readonly low: number; readonly high: number; readonly nonzero: boolean }
  | { readonly method: "min-max" }
  | { readonly method: "window"; readonly low: number; readonly high: number }; // raw values, of one channel among several

/** How large images are seen in tiles of the working size, as sdseg/config/tiles.py has it. */
export interface Tiles {
  readonly overlap: number; // share of a tile
  readonly blending: "gaussian" | "constant";
  readonly scale: number; // of the image, before it is cut
}

export type Colour = readonly [number, number, number];

export interface Structure {
  readonly name: string;
  readonly colour: Colour;
  readonly parts: number; // label ids that make it up: of structures that overlap the one with fewer lies on top
}

/** How the values of the training images lay: smallest, median and largest of all cases. */
export interface Intensities {
  readonly p1: readonly [number, number, number];
  readonly p99: readonly [number, number, number];
  readonly width: readonly [number, number, number];
}

export interface Contract {
  readonly version: string; // of sdseg
  readonly dataset: string;
  readonly recipe: string;
  readonly origin: string; // of the training images: "real", "sample" or "phantom"
  readonly precision: string;
  readonly channels: number; // of a slice
  readonly channelNames: readonly string[]; // of several files per case; none: one file
  readonly shownChannel: number; // of these
  readonly normalisations: readonly Normalisation[]; // by channel, where they differ: each then goes from 0 to 1
  readonly channelIntensities: readonly Intensities[]; // by channel
  readonly modality: "rgb" | "ct" | "mr" | "pet" | "ultrasound" | "other";
  readonly width: number; // working size
  readonly height: number;
  readonly slicing: Plane; // of volumes
  readonly tiles: Tiles | null; // of images alone
  readonly resampling: { readonly spacing: readonly [number, number]; readonly fit: "crop" | "shrink" } | null;
  readonly neighbours: number; // slices on each side that are seen as well
  readonly window: readonly [number, number];
  readonly dtype: StoredType;
  readonly stretch: boolean;
  readonly normalisation: Normalisation | null;
  readonly intensities: Intensities | null;
  readonly structures: readonly Structure[];
  readonly threshold: number;
  readonly exclusive: boolean;
  readonly largestComponent: boolean;
  readonly fillHoles: boolean;
  readonly noise: { readonly shape: readonly number[]; readonly values: string } | null; // base64 of float32
  // Of a page that has WebGPU: how far it may lie from WebAssembly; null: the page computes by WebAssembly alone.
  readonly webgpu: { readonly tolerance: number } | null;
  readonly hypotheses: number; // that the graph gives beside their mean; 0: none
  readonly model: { readonly inside: boolean; readonly name: string; readonly bytes: number; readonly sha256: string };
  readonly sample: { readonly name: string; readonly about: string } | null;
}

/** What the model takes, in words. */
export function takes(contract: Contract): string {
  const names = contract.channelNames;
  return names.length === 0 ? kindOf(contract) : `${kindOf(contract)} in ${names.length} files (${names.join(", ")})`;
}

/** What a user is asked for. */
export function invitation(contract: Contract): string {
  const [formats, series] =
    contract.modality === "rgb" ? ["PNG, JPEG, BMP or TIFF", ""] : ["NIfTI", ", or a folder or zip of a DICOM series"];
  const names = contract.channelNames.map((name, number) => `CASE_${String(number).padStart(4, "0")} or CASE_${name}`);
  if (names.length === 0) return `Drop ${kindOf(contract)} here: ${formats}${series}`;
  return `Drop the files of ${kindOf(contract)} here (${formats}), one for each channel: ${names.join(", ")}`;
}

function kindOf(contract: Contract): string {
  if (contract.modality === "rgb") return "an image";
  const names = { ct: "a CT volume", mr: "an MR volume", pet: "a PET volume", ultrasound: "an ultrasound volume" };
  return contract.modality === "other" ? "a volume" : names[contract.modality];
}
