/** The exported graph in ONNX Runtime Web: raw values at the working size in, probabilities out. */

import type * as Ort from "onnxruntime-web/wasm";

import type { Contract } from "../contract.ts";
import { fromBase64 } from "./packed.ts";
import { farthest, trialImage, whyNoAdapter } from "./webgpu.ts";

const MOST_THREADS = 4; // more gain little on a graph of one image

/** What the graph says of one slice, at the working size. */
export interface Answer {
  readonly probability: Float32Array; // [structures, height, width]
  readonly hypotheses: Float32Array | null; // [hypotheses, structures, height, width]
}

/** ONNX Runtime: its JavaScript, and what that compiles. */
export interface Runtime {
  readonly script: Uint8Array<ArrayBuffer>;
  readonly wasm: Uint8Array<ArrayBuffer>;
}

/** What lets WebGPU compute. */
export interface GpuParts {
  readonly runtime: () => Promise<Runtime>; // another than that of WebAssembly, and unpacked where it is needed alone
  readonly tolerance: number; // of the probability against WebAssembly's
  readonly softwareToo: boolean; // whether an adapter may be software: for whoever checks the page
}

/** The graph, open in a runtime. */
interface Opened {
  readonly ort: typeof Ort;
  readonly session: Ort.InferenceSession;
}

export class Engine {
  private onGpu: Opened | null = null;
  /** Why WebGPU does not compute, of a page that has it; null where it does, and of other pages. */
  whyNoGpu: string | null = null;

  private constructor(
    private readonly contract: Contract,
    private readonly onProcessor: Opened,
    private readonly noise: Float32Array | null,
    readonly threads: number,
  ) {}

  /** `model` is the graph. With `gpu` it is computed there, if it is there and gives the same as WebAssembly. */
  static async open(contract: Contract, runtime: Runtime, model: Uint8Array, gpu: GpuParts | null): Promise<Engine> {
    // Threads share memory, which browsers allow only to pages that a server isolates: not to a file on a disk.
    const threads = globalThis.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
    const opened = await open(runtime, model, "wasm", threads);
    const noise = contract.noise === null ? null : new Float32Array(fromBase64(contract.noise.values).buffer);
    const engine = new Engine(contract, opened, noise, threads);
    if (gpu !== null) await engine.tryGpu(model, gpu);
    return engine;
  }

  get provider(): "WebGPU" | "WebAssembly" {
    return this.onGpu === null ? "WebAssembly" : "WebGPU";
  }

  /** Raw values [height, width, channels] of one slice. */
  async run(values: Uint8Array | Float32Array): Promise<Answer> {
    if (this.onGpu === null) return this.runOn(this.onProcessor, values);
    try {
      return await this.runOn(this.onGpu, values);
    } catch (error) { // its driver was lost, or its memory is full
      this.onGpu = null;
      this.whyNoGpu = `the graphics processor failed (${inShort(error)})`;
      return this.runOn(this.onProcessor, values);
    }
  }

  private async tryGpu(model: Uint8Array, { runtime, tolerance, softwareToo }: GpuParts): Promise<void> {
    this.whyNoGpu = await whyNoAdapter(softwareToo);
    if (this.whyNoGpu !== null) return;
    const trial = trialImage(this.contract);
    const expected = await this.runOn(this.onProcessor, trial);
    try {
      const opened = await open(await runtime(), model, "webgpu", 1);
      const answer = await this.runOn(opened, trial);
      const apart = farthest(answer.probability, expected.probability);
      if (apart <= tolerance) this.onGpu = opened;
      else this.whyNoGpu = `the graphics processor is ${apart.toPrecision(2)} away from the probability it should give`;
    } catch (error) {
      this.whyNoGpu = `the graphics processor does not run this model (${inShort(error)})`;
    }
  }

  private async runOn({ ort, session }: Opened, values: Uint8Array | Float32Array): Promise<Answer> {
    const { contract } = this;
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
    const outputs = await session.run(feeds, wanted);
    return {
      probability: (await outputs["probability"]!.getData()) as Float32Array,
      hypotheses: contract.hypotheses > 0 ? ((await outputs["hypotheses"]!.getData()) as Float32Array) : null,
    };
  }
}

async function open(runtime: Runtime, model: Uint8Array, provider: "wasm" | "webgpu", threads: number): Promise<Opened> {
  const url = URL.createObjectURL(new Blob([runtime.script], { type: "text/javascript" }));
  const ort = (await import(/* not bundled */ url)) as typeof Ort;
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmBinary = runtime.wasm.buffer;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(model, {
    executionProviders: [provider],
    graphOptimizationLevel: "all",
    logSeverityLevel: 3, // errors: some nodes of every graph stay with the processor, which it would warn of
  });
  return { ort, session };
}

function inShort(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, 200);
}
