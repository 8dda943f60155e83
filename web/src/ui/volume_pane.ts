/** A volume in NiiVue: one canvas with three planes or one view, and a slider for each plane. */

import type { Contract } from "../contract.ts";
import type { Masks, Shown } from "../messages.ts";
import { unpack } from "../model/packed.ts";
import type { Style } from "../view/paint.ts";
import { patientLabels, patientVolume, placeAt, sidesOf, voxelAt } from "../view/patient.ts";
import type { Triple } from "../view/patient.ts";
import { SECTIONS, middleOf, shapeOf } from "../view/planes.ts";
import type { Place, Section } from "../view/planes.ts";
import { onePlane, threePlanes } from "../view/layout.ts";
import type * as SceneModule from "../volume/scene.ts";
import { make } from "./element.ts";
import type { Pane } from "./pane.ts";
import { SliceSlider, TITLES } from "./slice_slider.ts";

type Scene = SceneModule.Scene;
type ViewName = "planes" | Section | "solid";

const VIEWS: Readonly<Record<ViewName, string>> = { planes: "Three planes", ...TITLES, solid: "3-D" };
const TALLEST = 0.8; // of the window's height
const SHORTEST = 240; // pixels, however low the window is

const HINT = "Click, scroll, or use the arrow and page keys; drag to turn 3-D.";
const TURN = 5; // degrees a key press
const STEPS: Readonly<Record<string, Triple>> = {
  ArrowLeft: [1, 0, 0], // the patient's right is at the left
  ArrowRight: [-1, 0, 0],
  ArrowUp: [0, 1, 0],
  ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1],
  PageDown: [0, 0, -1],
};

export class VolumePane implements Pane {
  readonly elements: readonly HTMLElement[];
  private readonly canvas = make("canvas");
  private readonly stage = make("div", { className: "stage" }, this.canvas);
  private readonly select = make("select");
  private readonly captions = make("div", { className: "sliders" });
  private scene: Scene | null = null;
  private shown: Shown | null = null;
  private masks: Masks | null = null;
  private style: Style | null = null;
  private sliders: SliceSlider[] = [];

  /** `script` is that of src/volume, packed; `lost` is called where the graphics card gives the picture up. */
  constructor(
    private readonly contract: Contract,
    private readonly script: string,
    lost: () => void,
  ) {
    const label = make("label", {}, make("span", {}, "View"), this.select);
    const view = make("div", { className: "view" }, label, make("p", { className: "hint" }, HINT));
    this.elements = [make("div", { className: "volume" }, this.stage, view, this.captions)];
    this.select.append(...Object.entries(VIEWS).map(([value, title]) => make("option", { value }, title)));
    this.select.addEventListener("input", () => this.look());
    new ResizeObserver(() => this.look()).observe(this.elements[0]!);
    this.canvas.setAttribute("role", "img");
    this.canvas.addEventListener("webglcontextlost", lost);
    this.canvas.addEventListener("keydown", (event) => this.pressed(event)); // before NiiVue's own, which are silenced
    this.canvas.addEventListener("keyup", (event) => event.stopImmediatePropagation());
  }

  async open(shown: Shown): Promise<void> {
    this.scene ??= await this.attach();
    const volume = patientVolume(shown);
    const refusal = this.scene.refusal(volume);
    if (refusal !== null) throw new Error(refusal);
    this.shown = null; // until it is there
    this.sliders = SECTIONS.map((section) => new SliceSlider(shapeOf(shown, section), () => this.go()));
    this.captions.replaceChildren(...this.sliders.map((slider) => make("p", {}, ...slider.elements)));
    await this.scene.show(volume);
    [this.shown, this.masks] = [shown, null];
    this.offer(this.scene.drawsSolid(volume));
    this.look();
    this.go();
  }

  setMasks(masks: Masks, jump: boolean): void {
    this.masks = masks;
    this.relabel();
    if (jump && this.shown !== null) this.moveTo(middleOf(this.shown, masks));
  }

  setStyle(style: Style): void {
    const relabel = style.visible !== this.style?.visible;
    this.style = style;
    this.scene?.setStyle(style.opacity, style.outlines);
    if (relabel) this.relabel();
  }

  picture(): HTMLCanvasElement {
    return this.scene!.picture();
  }

  private async attach(): Promise<Scene> {
    // Asked of the canvas that NiiVue will ask again: another context would cost as much as the first.
    const context = this.canvas.getContext("webgl2", { alpha: true, antialias: false });
    if (context === null) throw new Error("this browser offers no WebGL 2");
    const url = URL.createObjectURL(new Blob([await unpack(this.script)], { type: "text/javascript" }));
    const { Scene } = (await import(/* not bundled */ url)) as typeof SceneModule;
    const colours = this.contract.structures.map((structure) => structure.colour);
    const scene = await Scene.attach(this.canvas, colours, (voxel) => {
      if (this.shown !== null) this.put(placeAt(this.shown, voxel));
    });
    if (this.style !== null) scene.setStyle(this.style.opacity, this.style.outlines);
    return scene;
  }

  private get view(): ViewName {
    return this.select.value as ViewName;
  }

  private look(): void {
    if (this.shown === null) return;
    const [shown, view, sides] = [this.shown, this.view, sidesOf(this.shown)];
    const width = this.elements[0]!.clientWidth;
    if (width === 0) return; // not on the page
    const room = { width, height: Math.max(SHORTEST, window.innerHeight * TALLEST) };
    if (view === "solid") {
      this.resize(width, Math.min(width, room.height));
      this.scene?.showSolid();
    } else {
      const layout = view === "planes" ? threePlanes(sides, shown.plane, room) : onePlane(sides, view, room);
      this.resize(layout.width, layout.height);
      this.scene?.showPlanes(layout.tiles);
    }
    this.describe();
  }

  private offer(solid: boolean): void {
    const option = this.select.querySelector<HTMLOptionElement>("option[value=solid]")!;
    option.disabled = !solid;
    option.text = solid ? VIEWS.solid : `${VIEWS.solid} (needs a graphics card)`;
    if (!solid && this.view === "solid") this.select.value = "planes";
  }

  private resize(width: number, height: number): void {
    this.stage.style.width = `${width}px`; // the canvas follows
    this.stage.style.height = `${height}px`;
  }

  private relabel(): void {
    if (this.shown === null || this.masks === null || this.style === null) return;
    this.scene?.setLabels(patientLabels(this.shown, this.masks, this.contract.structures, this.style.visible));
  }

  private get place(): Place {
    return this.sliders.map((slider) => slider.index) as unknown as Place;
  }

  private moveTo(place: Place): void {
    this.put(place);
    this.go();
  }

  private put(place: Place): void {
    this.sliders.forEach((slider, axis) => (slider.index = place[axis]!));
    this.describe();
  }

  private go(): void {
    if (this.shown !== null) this.scene?.moveTo(voxelAt(this.shown, this.place));
    this.describe();
  }

  private pressed(event: KeyboardEvent): void {
    event.stopImmediatePropagation();
    const step = STEPS[event.key];
    if (step === undefined || this.shown === null || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    if (this.view === "solid") this.scene?.turn(-step[0] * TURN, step[1] * TURN);
    else this.moveTo(placeAt(this.shown, stepped(voxelAt(this.shown, this.place), step)));
  }

  private describe(): void {
    if (this.shown === null) return;
    const title = this.select.selectedOptions[0]?.text ?? "";
    const slices = this.sliders.map((slider, axis) => `${TITLES[SECTIONS[axis]!]} slice ${slider.text}`).join(", ");
    this.canvas.setAttribute("aria-label", `${title} of ${this.shown.name} with the mask: ${slices}`);
  }
}

function stepped(voxel: Triple, step: Triple): Triple {
  return [voxel[0] + step[0], voxel[1] + step[1], voxel[2] + step[2]];
}
