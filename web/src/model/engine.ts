/** The exported graph in ONNX Runtime Web: raw values at the working size in, probabilities out. */

import type * as Ort from "onnxruntime-web/wasm";

import type { Contract } from "../contract.ts";
import { fromBase64 } from "./packed.ts";

const MOST_THREADS = 4; // more gain little on a graph of one image

/** What the graph says of one slice, at the working size. */
export interface Answer {
  readonly probability: Float32Array; // [structures, height, width]
  readonly hypotheses: Float32Array | null; // [hypotheses, structures, height, width]
}

export class Engine {
  private constructor(
    private readonly ort: typeof Ort,
    private readonly session: Ort.InferenceSession,
    private readonly contract: Contract,
    private readonly noise: Float32Array | null,
    readonly threads: number,
  ) {}

  /** `runtime` is the JavaScript of ONNX Runtime, `wasm` what it compiles, `model` the graph. */
  static async open(contract: Contract, runtime: Uint8Array<ArrayBuffer>, wasm: Uint8Array, model: Uint8Array) {
    const url = URL.createObjectURL(new Blob([runtime], { type: "text/javascript" }));
    const ort = (await import(/* not bundled */ url)) as typeof Ort;
    // Threads share memory, which browsers allow only to pages that a server isolates: not to a file on a disk.
    const threads = globalThis.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmBinary = wasm.buffer.slice(wasm.byteOffset, wasm.byteOffset + wasm.byteLength) as ArrayBuffer;
    ort.env.logLevel = "error";
    const session = await ort.InferenceSession.create(model, {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "all",
    });
    const noise = contract.noise === null ? null : new Float32Array(fromBase64(contract.noise.values).buffer);
    return new Engine(ort, session, contract, noise, threads);
  }

  /** Raw values [height, width, channels] of one slice. */
  async run(values: Uint8Array | Float32Array): Promise<Answer> {
    const { ort, contract } = this;
    const channels = values.length / (contract.width * contract.height);
    const shape = [1, contract.height, contract.width, channels];
    const image =
      contract.modality === "rgb"
        ? new ort.Tensor("uint8", values as Uint8Array, shape)
        : new ort.Tensor("float32", Float32Array.from(values), shape);
    const feeds: Record<string, Ort.Tensor> = { image };
    if (contract.noise !== null && this.noise !== null) {
      feeds["noise"] = new ort.Tensor("float32", this.noise.slice(), [1, ...contract.noise.shape]);
    }
    const wanted = contract.hypotheses > 0 ? ["probability", "hypotheses"] : ["probability"];
    const outputs = await this.session.run(feeds, wanted);
    return {
      probability: (await outputs["probability"]!.getData()) as Float32Array,
      hypotheses: contract.hypotheses > 0 ? ((await outputs["hypotheses"]!.getData()) as Float32Array) : null,
    };
  }
}
