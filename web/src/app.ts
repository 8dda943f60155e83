/** The page: opens its model, takes files, shows what was found. */

import type { Contract } from "./contract.ts";
import { invitation, takes } from "./contract.ts";
import type { Asked, InputSummary, Shown, Tasks } from "./messages.ts";
import { UserMessage } from "./io/types.ts";
import { fromBase64, unpack } from "./model/packed.ts";
import { Client } from "./ui/client.ts";
import { byId, download, make, takeData } from "./ui/element.ts";
import { firstThatWorks } from "./ui/first.ts";
import { listen } from "./ui/intake.ts";
import { Panel } from "./ui/panel.ts";
import { Turns } from "./ui/turns.ts";
import { Viewer } from "./ui/viewer.ts";

const SETTLE = 120; // ms without another move of a slider, before a volume is computed anew

// For whoever checks the page: at the address segment.html#software-adapter WebGPU may compute by software.
const softwareToo = location.hash === "#software-adapter";
const contract = JSON.parse(takeData("contract")) as Contract;
const parts = {
  runtime: { script: takeData("runtime"), wasm: takeData("wasm") },
  gpuRuntime: contract.webgpu === null ? null : { script: takeData("gpu-runtime"), wasm: takeData("gpu-wasm") },
};
const modelText = contract.model.inside ? takeData("model") : null;
const sampleText = contract.sample === null ? null : takeData("sample");
const client = new Client(unpack(takeData("worker")));
const viewer = new Viewer(contract, contract.modality === "rgb" ? null : takeData("viewer"), say);
const panel = new Panel(contract, { masks: () => turns.refresh(), style: () => viewer.setStyle(panel.style) });
const turns = new Turns({
  asked: () => (shown === null ? null : panel.asked),
  remask,
  failed: show,
  wait: () => (shown?.kind === "volume" ? SETTLE : 0),
});

let ready = false;
let threads = 0;
let inputs: readonly InputSummary[] = [];
let shown: Shown | null = null;
let current = -1; // which of `inputs` is shown; -1: none of them
let busy = false;

function say(text: string): void {
  byId("status").textContent = text;
}

function progress(done: number | null, total = 1): void {
  const bar = byId<HTMLProgressElement>("progress");
  bar.hidden = done === null;
  if (done !== null && done > 0) bar.value = done / total;
  else bar.removeAttribute("value");
}

/** Do something that takes a while and may fail: one at a time (false: another is at it), its failure shown once. */
function work(text: string, action: () => Promise<void>): Promise<boolean> {
  return turns.work(async () => {
    byId("message").textContent = "";
    say(text);
    progress(0);
    setBusy(true);
    try {
      await action();
    } catch (error) {
      busy = false;
      show(error);
    } finally {
      progress(null);
      setBusy(false);
    }
  });
}

function setBusy(on: boolean): void {
  busy = on;
  for (const id of ["choose-files", "choose-folder", "choose-model", "try-sample", "save-mask", "save-picture", "inputs"]) {
    byId<HTMLButtonElement | HTMLSelectElement>(id).disabled = on || (!ready && id !== "choose-model");
  }
}

function show(error: unknown): void {
  const [what, remedy] =
    error instanceof UserMessage ? [error.what, error.remedy] : [String(error), "reload the page and try again"];
  byId("message").textContent = `${what}. ${remedy.charAt(0).toUpperCase()}${remedy.slice(1)}.`;
  if (!busy) say(ready ? "Ready." : "");
}

async function start(model: string | File): Promise<void> {
  await work("Opening the model …", async () => {
    const opened = await client.run("start", { contract, ...parts, model, softwareToo });
    if (opened === null) return;
    ready = true;
    threads = opened.threads;
    byId("choose-model").hidden = true;
    byId("try-sample").hidden = sampleText === null;
    for (const id of ["choose-files", "drop-text"]) byId(id).hidden = false;
    byId("drop-text").textContent = invitation(contract);
    byId("choose-folder").hidden = contract.modality === "rgb" || !("webkitdirectory" in byId("folder"));
    const many = opened.provider === "WebGPU" ? "" : `, ${threads} thread${threads > 1 ? "s" : ""}`;
    const without = opened.whyNoGpu === null ? "" : ` without WebGPU: ${opened.whyNoGpu}`;
    fact("Computes with", `ONNX Runtime Web, ${opened.provider}${many}${without && `,${without}`}`);
    say(`Ready: the model opened in ${opened.seconds.toFixed(1)} s${without && `, and computes${without}`}.`);
  });
  if (!ready && contract.model.inside) byId("drop-text").textContent = "The model did not open.";
}

/** Open files, and segment the first of what they hold that the model can work on. */
async function take(files: File[]): Promise<void> {
  if (!ready && !busy) {
    if (contract.model.inside) return; // what is wrong is said already
    return start(files[0]!);
  }
  const begun = await work(files.length === 1 ? `Reading ${files[0]!.name} …` : `Reading ${files.length} files …`, async () => {
    inputs = (await client.run("open", files)) ?? [];
    const options = inputs.map((input, index) => make("option", { value: String(index) }, nameOf(input)));
    byId("inputs").replaceChildren(...options);
    byId("inputs-label").hidden = inputs.length < 2;
    choose(-1);
    const kind = contract.modality === "rgb" ? "image" : "volume";
    const { index, result, notes } = await firstThatWorks(inputs, kind, segment);
    await present(index, { ...result, notes: [...result.notes, ...notes] });
  });
  if (!begun) show(new UserMessage("files were given while the page was at work", "give them again once it is done"));
}

function choose(index: number): void {
  current = index;
  byId<HTMLSelectElement>("inputs").selectedIndex = index;
}

async function segment(index: number): Promise<Shown> {
  say(`Segmenting ${inputs[index]!.name} …`);
  const result = await client.run("segment", { index }, progress);
  if (result === null) throw new Error("the segmentation was given up");
  return result;
}

async function present(index: number, result: Shown): Promise<void> {
  shown = result;
  turns.forget();
  choose(index);
  byId("result").hidden = false;
  panel.open(result);
  viewer.setStyle(panel.style);
  await viewer.open(result);
  await turns.remask(true);
  byId("result-heading").focus({ preventScroll: true });
  byId("result").scrollIntoView({ block: "nearest" });
}

/** Masks as the sliders stand; false where others were asked for meanwhile. */
async function remask(asked: Asked, first: boolean): Promise<boolean> {
  const of = shown;
  const masks = await client.run("masks", asked, progress).finally(() => busy || progress(null));
  if (masks === null || of === null || shown !== of) return false;
  panel.setMasks(masks, of);
  viewer.setMasks(masks, first);
  const seconds = of.seconds < 1 ? `${Math.round(of.seconds * 1000)} ms` : `${of.seconds.toFixed(1)} s`;
  say(`${panel.summary(masks, of)}.${first ? ` Computed in ${seconds}. ${viewer.remark}` : ""}`.trimEnd());
  return true;
}

function nameOf(input: InputSummary): string {
  return `${input.name} (${input.about})`;
}

function fact(term: string, text: string): void {
  byId("facts").append(make("dt", {}, term), make("dd", {}, text));
}

function describe(): void {
  const phantom = contract.origin === "phantom" ? "synthetic images (phantoms), not patients" : contract.dataset;
  byId("model-line").textContent = `${contract.recipe}, trained on ${phantom}`;
  byId("drop-text").textContent = contract.model.inside
    ? "Opening the model …"
    : `The model is too large for one file. Choose '${contract.model.name}', which lies beside this page.`;
  fact("Finds", contract.structures.map((structure) => structure.name).join(", "));
  const seen = contract.tiles === null ? "at" : "in tiles of";
  fact("Takes", `${takes(contract)}, which it sees ${seen} ${contract.width} × ${contract.height} pixels`);
  fact("Trained on", `${contract.dataset} (${contract.origin})`);
  fact("Method", `${contract.recipe}, ${contract.precision}`);
  fact("Model", `${(contract.model.bytes / 1e6).toFixed(1)} MB, SHA-256 ${contract.model.sha256}`);
  fact("Confidence", "the mean, over the pixels of a structure, of the probability that the model gives it there");
  if (contract.sample !== null) fact("Sample", contract.sample.about);
  fact("Made by", `sdseg ${contract.version}`);
  void unpack(takeData("licence-text")).then((text) => {
    byId("licences").textContent = new TextDecoder().decode(text);
  }, show);
}

function connect(): void {
  listen((files) => void take(files), show);
  byId("try-sample").addEventListener("click", () => {
    const { sample } = contract;
    if (sample === null || sampleText === null) return;
    try {
      void take([new File([fromBase64(sampleText)], sample.name)]);
    } catch (error) {
      show(error); // a damaged page
    }
  });
  byId("choose-model").addEventListener("click", () => byId("model-file").click());
  byId<HTMLInputElement>("model-file").addEventListener("change", (event) => {
    const file = (event.target as HTMLInputElement).files?.[0];
    if (file !== undefined) void start(file);
  });
  byId<HTMLSelectElement>("inputs").addEventListener("change", (event) => {
    const index = Number((event.target as HTMLSelectElement).value);
    void work("", async () => {
      try {
        await present(index, await segment(index));
      } finally {
        choose(current); // what is shown is what it was, where this failed
      }
    });
  });
  byId("save-mask").addEventListener("click", () =>
    void work("Saving the mask …", async () => {
      const saved = await client.run("saveMask", panel.asked, progress);
      if (saved === null) return;
      download(saved.name, new Blob([saved.data], { type: saved.type }));
      say(`Saved ${saved.name}.`);
    }),
  );
  byId("save-picture").addEventListener("click", () =>
    void work("Saving a picture …", async () => {
      const name = `${(shown?.name ?? "picture").replace(/^.*[\\/]/, "").replace(/\.[^.]*(\.gz)?$/, "")}_overlay.png`;
      download(name, await viewer.picture());
      say(`Saved ${name}.`);
    }),
  );
}

describe();
connect();
setBusy(true);
if (modelText !== null) {
  void start(modelText);
} else {
  byId("choose-model").hidden = false;
  for (const id of ["choose-files"]) byId(id).hidden = true;
  progress(null);
  say("");
  setBusy(false);
}

// For whoever checks the page, by its own worker: see docs/web.md.
declare global {
  interface Window {
    sdseg: { readonly contract: Contract; run: Client["run"]; isReady(): boolean; threads(): number };
  }
}
window.sdseg = {
  contract,
  run: <Name extends keyof Tasks>(task: Name, input: Tasks[Name][0]) => client.run(task, input),
  isReady: () => ready && turns.idle,
  threads: () => threads,
};
