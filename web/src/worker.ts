/** Reads, computes and saves, off the page: the page stays responsive. */

import type { Contract } from "./contract.ts";
import { fromSlices } from "./io/geometry.ts";
import { openFiles } from "./io/open.ts";
import { encodeNifti, encodePng } from "./io/save.ts";
import { UserMessage } from "./io/types.ts";
import type { Asked, InputSummary, Masks, Parts, Ready, Reply, Request, RuntimeParts, Saved, Shown, Tasks } from "./messages.ts";
import { Engine } from "./model/engine.ts";
import type { Case } from "./model/channels.ts";
import { casesOf, stemOf } from "./model/channels.ts";
import type { Answer, Runtime } from "./model/engine.ts";
import { unpack } from "./model/packed.ts";
import { labelsOf } from "./model/rule.ts";
import { overTiles } from "./model/tiles.ts";
import { Segmentation } from "./model/segmentation.ts";
import type { Working } from "./model/working.ts";
import { withNeighbours, workingOf } from "./model/working.ts";

type Report = (done: number, total: number) => void;

interface State {
  contract: Contract;
  engine: Engine;
  cases: readonly Case[];
  segmentation: Segmentation | null;
  masks: Masks | null;
  asked: number; // the latest request for masks: those before it are given up
}

let state: State | null = null;

const tasks: { [Name in keyof Tasks]: (input: Tasks[Name][0], report: Report) => Promise<Tasks[Name][1] | null> } = {
  async start(parts: Parts): Promise<Ready> {
    const started = performance.now();
    const { contract, gpuRuntime, softwareToo } = parts;
    const [runtime, model] = await Promise.all([unpackRuntime(parts.runtime), graphOf(parts)]);
    const gpu =
      contract.webgpu === null || gpuRuntime === null
        ? null
        : { runtime: () => unpackRuntime(gpuRuntime), softwareToo, ...contract.webgpu };
    const engine = await Engine.open(contract, runtime, model, gpu);
    state = { contract, engine, cases: [], segmentation: null, masks: null, asked: 0 };
    const { threads, provider, whyNoGpu } = engine;
    return { seconds: (performance.now() - started) / 1000, threads, provider, whyNoGpu };
  },

  async open(files): Promise<readonly InputSummary[]> {
    const inputs = await openFiles(files);
    if (inputs.length === 0) throw new UserMessage("nothing to open", "choose an image, a volume or a DICOM series");
    const now = opened();
    now.cases = casesOf(inputs, now.contract);
    return now.cases.map(({ name, channels }) => ({ name, kind: channels[0]!.kind, about: sizeOf(channels) }));
  },

  async segment({ index }, report): Promise<Shown | null> {
    const { contract, engine, cases } = opened();
    const one = cases[index];
    if (one === undefined) throw new Error(`no input ${index}`);
    const working = await workingOf(one, contract, async (share) => {
      report(share * 0.2, 1);
      await pause();
    });
    const started = performance.now();
    const { provider } = engine;
    const answers: Answer[] = [];
    for (let slice = 0; slice < working.count; slice++) {
      answers.push(
        await answerTo(engine, working, slice, contract, async (share) => {
          report(0.2 + (0.8 * (slice + share)) / working.count, 1);
          await pause();
        }),
      );
      if (answers.at(-1)!.probability.some(Number.isNaN)) {
        throw new UserMessage(`the model gives no numbers for '${one.name}'`, "check the values of the file");
      }
    }
    const now = opened();
    now.segmentation = new Segmentation(working, answers, contract);
    now.masks = null;
    now.asked += 1; // masks of what was shown before are given up
    return {
      name: one.name,
      kind: working.input.kind,
      count: working.count,
      rows: working.rows,
      columns: working.columns,
      channels: working.channels,
      plane: contract.slicing,
      spacing: working.spacing,
      pixels: working.shown.slice(),
      notes: engine.provider === provider ? working.notes : [...working.notes, `${engine.whyNoGpu}: computed slower`],
      seconds: (performance.now() - started) / 1000,
    };
  },

  async masks(asked, report): Promise<Masks | null> {
    const masks = await masksAt(asked, report);
    return masks === null ? null : { ...masks, bits: masks.bits.slice() };
  },

  async saveMask(asked, report): Promise<Saved> {
    const { contract } = opened();
    const { working } = segmented(opened());
    const masks = await masksAt(asked, report);
    if (masks === null) throw new UserMessage("other masks were asked for meanwhile", "save the mask again");
    const labels = labelsOf(masks.bits, contract);
    const what = masks.hypothesis === 0 ? "mask" : `hypothesis${masks.hypothesis}`;
    const stem = stemOf(working.name) || "mask";
    if (working.input.kind === "image") {
      const pixels = contract.structures.length === 1 ? labels.map((label) => label * 255) : labels;
      const data = encodePng(pixels, { width: working.columns, height: working.rows }, 1);
      return { name: `${stem}_${what}.png`, type: "image/png", data: own(data) };
    }
    const pixels = working.rows * working.columns;
    const slices = Array.from({ length: working.count }, (_, index) =>
      labels.subarray(index * pixels, (index + 1) * pixels),
    );
    const data = encodeNifti(working.input, fromSlices(working.input, slices, contract.slicing));
    return { name: `${stem}_${what}.nii.gz`, type: "application/gzip", data: own(data) };
  },

  async probability({ values, count }): Promise<Float32Array> {
    const { engine } = opened();
    const each = values.length / count;
    const answers = [];
    for (let index = 0; index < count; index++) {
      answers.push((await engine.run(values.slice(index * each, (index + 1) * each))).probability);
    }
    return joined(answers);
  },

  async computes() {
    const { provider, whyNoGpu } = opened().engine;
    return { provider, whyNoGpu };
  },

  async nativeProbability(): Promise<Float32Array> {
    const segmentation = segmented(opened());
    return joined(Array.from({ length: segmentation.working.count }, (_, slice) => segmentation.native(slice, 0)));
  },
};

/** The masks as the sliders stand; null where a later request made these needless. */
async function masksAt({ threshold, hypothesis }: Asked, report: Report): Promise<Masks | null> {
  const now = opened();
  const asked = ++now.asked;
  if (now.masks?.threshold === threshold && now.masks.hypothesis === hypothesis) return now.masks;
  const masks = await segmented(now).masks(threshold, hypothesis, async (done, total) => {
    report(done, total);
    await pause();
    return now.asked === asked;
  });
  if (masks === null || now.asked !== asked) return null;
  now.masks = masks;
  return masks;
}

function opened(): State {
  if (state === null) throw new UserMessage("the model is not open yet", "wait until it is");
  return state;
}

function segmented({ segmentation }: State): Segmentation {
  if (segmentation === null) throw new UserMessage("nothing is open", "choose a file first");
  return segmentation;
}

async function unpackRuntime({ script, wasm }: RuntimeParts): Promise<Runtime> {
  const [unpackedScript, unpackedWasm] = await Promise.all([unpack(script), unpack(wasm)]);
  return { script: unpackedScript, wasm: unpackedWasm };
}

async function graphOf({ model, contract }: Parts): Promise<Uint8Array> {
  if (typeof model === "string") return unpack(model);
  const bytes = new Uint8Array(await model.arrayBuffer());
  const expected = contract.model;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (sha256 !== expected.sha256) {
    throw new UserMessage(
      `'${model.name}' is not the model of this page`,
      `choose '${expected.name}', which was written beside it (${(expected.bytes / 1e6).toFixed(1)} MB)`,
    );
  }
  return bytes;
}

/** What the model says of one slice, or of an image in tiles; `report` hears of the share that is done. */
async function answerTo(
  engine: Engine,
  working: Working,
  slice: number,
  contract: Contract,
  report: (share: number) => Promise<void>,
): Promise<Answer> {
  const fed = withNeighbours(working, slice, contract);
  if (contract.tiles === null) {
    const answer = await engine.run(fed);
    await report(1);
    return answer;
  }
  const tile = { width: contract.width, height: contract.height };
  const run = (pixels: Uint8Array): Promise<Answer> => engine.run(pixels);
  return overTiles(run, fed as Uint8Array, working.fit.working, tile, contract.tiles, contract.window[0], (done, total) =>
    report(done / total),
  );
}

function sizeOf(channels: Case["channels"]): string {
  const input = channels[0]!;
  const several = channels.length > 1 ? `, ${channels.length} channels` : "";
  if (input.kind === "image") return `${input.width} × ${input.height} pixels${several}`;
  const spacing = input.spacing.map((length) => Number(length.toPrecision(3))).join(" × ");
  return `${input.shape.join(" × ")} voxels of ${spacing} mm${several}`;
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  parts.reduce((place, part) => (whole.set(part, place), place + part.length), 0);
  return whole;
}

function own(data: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(data);
}

/** Lets a message come in, and the page draw. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Large arrays go without a copy. */
function transferable(output: unknown): ArrayBuffer[] {
  const values = output instanceof Float32Array ? [output] : Object.values(output ?? {});
  return values.flatMap((value) => (ArrayBuffer.isView(value) ? [value.buffer as ArrayBuffer] : []));
}

self.onmessage = async ({ data }: MessageEvent<Request>): Promise<void> => {
  const { id, task, input } = data;
  const reply = (message: Reply, transfer: ArrayBuffer[] = []): void => self.postMessage(message, { transfer });
  try {
    const output = await tasks[task](input as never, (done, total) => reply({ id, done, total }));
    reply({ id, output }, transferable(output));
  } catch (error) {
    reply({ id, ...inWords(error) });
  }
};

function inWords(error: unknown): { what: string; remedy: string } {
  if (error instanceof UserMessage) return { what: error.what, remedy: error.remedy };
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof RangeError || /memory|allocation/i.test(text)) {
    return { what: "this needs more memory than the browser gives", remedy: "use a smaller file, or 'sdseg predict'" };
  }
  return { what: `this cannot be worked on (${text.slice(0, 300)})`, remedy: "check the file, or try another browser" };
}
