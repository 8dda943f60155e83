/** What the page and its worker say to each other. */

import type { Contract } from "./contract.ts";
import type { Plane } from "./io/types.ts";

/** ONNX Runtime's JavaScript, and what it compiles. */
export interface RuntimeParts {
  readonly script: string;
  readonly wasm: string;
}

/** Data that lie in the page as text: base64 of gzip, or files the user chose. */
export interface Parts {
  readonly contract: Contract;
  readonly runtime: RuntimeParts;
  readonly gpuRuntime: RuntimeParts | null; // with WebGPU, of a page that has it
  readonly model: string | File;
  readonly softwareToo: boolean; // whether an adapter of WebGPU may be software
}

/** Who computes. */
export interface Computes {
  readonly provider: "WebGPU" | "WebAssembly";
  readonly whyNoGpu: string | null; // of a page that has WebGPU and does not compute with it
}

export interface Ready extends Computes {
  readonly seconds: number;
  readonly threads: number;
}

export interface InputSummary {
  readonly name: string;
  readonly kind: "image" | "volume";
  readonly about: string; // "1024 × 768 pixels"
}

export interface StructureResult {
  readonly pixels: number; // of an image; voxels of a volume
  readonly millilitres: number | null; // of a volume
  readonly confidence: number | null; // mean over its pixels of the probability that they belong to it; null: empty
  readonly interval: readonly [number, number] | null; // 5th and 95th percentile of the size over the hypotheses
}

/** An input as it is shown: 8-bit slices at the native size. */
export interface Shown {
  readonly name: string;
  readonly kind: "image" | "volume";
  readonly count: number; // slices; 1 of an image
  readonly rows: number;
  readonly columns: number;
  readonly channels: 1 | 3;
  readonly plane: Plane; // of the slices of a volume
  readonly spacing: readonly [number, number, number]; // between slices, rows, columns; mm of a volume
  readonly pixels: Uint8Array; // [count, rows, columns, channels]
  readonly notes: readonly string[];
  readonly seconds: number; // that the model took
}

/** Masks at one threshold: bit k of a voxel is structure k. */
export interface Masks {
  readonly bits: Uint8Array | Uint16Array | Uint32Array; // [count, rows, columns]
  readonly structures: readonly StructureResult[];
  readonly firstSlice: number; // with the largest mask
  readonly threshold: number;
  readonly hypothesis: number; // 0: of their mean
}

/** Which masks are wanted, by the sliders. */
export interface Asked {
  readonly threshold: number;
  readonly hypothesis: number; // 0: of their mean
}

export interface Saved {
  readonly name: string;
  readonly type: string;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** What the worker does, by name: what it is given, and what it gives. */
export interface Tasks {
  start: [Parts, Ready];
  open: [readonly File[], readonly InputSummary[]];
  segment: [{ readonly index: number }, Shown];
  masks: [Asked, Masks];
  saveMask: [Asked, Saved];
  // At the working size, for whoever checks the page: raw values as the model is fed with them, to probabilities.
  probability: [{ readonly values: Uint8Array | Float32Array; readonly count: number }, Float32Array];
  computes: [null, Computes]; // likewise, who has done so
  // At the native size of what was segmented last: [count, structures, rows, columns].
  nativeProbability: [null, Float32Array];
}

export interface Request<Name extends keyof Tasks = keyof Tasks> {
  readonly id: number;
  readonly task: Name;
  readonly input: Tasks[Name][0];
}

export type Reply =
  | { readonly id: number; readonly done: number; readonly total: number }
  | { readonly id: number; readonly output: unknown }
  | { readonly id: number; readonly what: string; readonly remedy: string };
