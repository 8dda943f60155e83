/** Planes on canvases: one for an image, and where a browser has no WebGL 2 three with a slider each for a volume. */

import type { Contract } from "../contract.ts";
import type { Masks, Shown } from "../messages.ts";
import { paint } from "../view/paint.ts";
import type { Style } from "../view/paint.ts";
import { SECTIONS, SIDES, cut, middleOf, placeIn, shapeOf } from "../view/planes.ts";
import type { Place, Section, SectionShape } from "../view/planes.ts";
import { byId, make } from "./element.ts";
import type { Pane } from "./pane.ts";
import { TITLES, SliceSlider } from "./slice_slider.ts";

const TALLEST = 0.75; // of the window's height

interface View {
  readonly shape: SectionShape;
  readonly figure: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  readonly slider: SliceSlider | null;
}

export class CanvasPane implements Pane {
  private shown: Shown | null = null;
  private masks: Masks | null = null;
  private views: View[] = [];
  private style: Style = { opacity: 0.15, outlines: true, visible: -1 };
  private waiting = false;

  constructor(private readonly contract: Contract) {
    new ResizeObserver(() => this.draw()).observe(byId("planes"));
  }

  async open(shown: Shown): Promise<void> {
    this.shown = shown;
    this.masks = null;
    const sections = shown.kind === "volume" ? SECTIONS : SECTIONS.slice(0, 1);
    this.views = sections.map((section) => this.view(shapeOf(shown, section), shown));
    byId("planes").classList.toggle("three", sections.length > 1);
    byId("planes").replaceChildren(...this.views.map((view) => view.figure));
    this.draw();
  }

  setMasks(masks: Masks, jump: boolean): void {
    this.masks = masks;
    if (jump && this.shown?.kind === "volume") this.moveTo(middleOf(this.shown, masks));
    this.draw();
  }

  setStyle(style: Style): void {
    this.style = style;
    this.draw();
  }

  /** What is seen now, as a picture. */
  picture(): HTMLCanvasElement {
    const gap = 8;
    const parts = this.views.map((view) => view.canvas);
    const canvas = make("canvas");
    canvas.width = parts.reduce((sum, part) => sum + part.width + gap, -gap);
    canvas.height = Math.max(...parts.map((part) => part.height));
    const context = canvas.getContext("2d")!;
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    let left = 0;
    for (const part of parts) {
      context.drawImage(part, left, Math.floor((canvas.height - part.height) / 2));
      left += part.width + gap;
    }
    return canvas;
  }

  private view(shape: SectionShape, shown: Shown): View {
    const canvas = make("canvas");
    canvas.setAttribute("role", "img");
    const figure = make("figure", {}, canvas);
    if (shown.kind === "image") return { shape, figure, canvas, slider: null };
    const slider = new SliceSlider(shape, () => this.draw());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      slider.index += Math.sign(event.deltaY);
      this.draw();
    });
    canvas.addEventListener("pointerdown", (event) => {
      const box = canvas.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      this.moveTo(placeIn(shown, shape.section, slider.index, x, y));
      this.draw();
    });
    figure.append(make("figcaption", {}, ...slider.elements));
    return { shape, figure, canvas, slider };
  }

  private moveTo(place: Place): void {
    this.views.forEach((view, axis) => {
      if (view.slider !== null) view.slider.index = place[axis]!;
    });
  }

  private draw(): void {
    if (this.shown !== null) for (const view of this.views) describe(view, this.shown);
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (this.shown !== null) for (const view of this.views) this.drawOne(view, this.shown);
    });
  }

  private drawOne(view: View, shown: Shown): void {
    const room = view.figure.clientWidth;
    if (room === 0) return;
    const { aspect, section } = view.shape;
    const tallest = Math.max(240, window.innerHeight * TALLEST);
    const wide = Math.max(1, Math.min(room, tallest * aspect));
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(wide * scale), Math.max(1, Math.round((wide / aspect) * scale))];
    if (view.canvas.width !== width || view.canvas.height !== height) {
      view.canvas.width = width;
      view.canvas.height = height;
      view.canvas.style.width = `${wide}px`;
      view.canvas.style.height = `${wide / aspect}px`;
    }
    const index = view.slider?.index ?? 0;
    paint(view.canvas, cut(shown, this.masks, section, index), this.contract.structures, this.style);
    if (shown.kind === "volume") letters(view.canvas, section, scale);
  }
}

function describe(view: View, shown: Shown): void {
  const where = view.slider === null ? "" : `${TITLES[view.shape.section]} slice ${view.slider.text}, `;
  view.canvas.setAttribute("aria-label", `${where}${shown.name} with the outlines of the mask`);
}

/** The sides of the patient, at the left edge and at the top. */
function letters(canvas: HTMLCanvasElement, section: Section, scale: number): void {
  const context = canvas.getContext("2d")!;
  const [left, top] = SIDES[section];
  context.font = `600 ${13 * scale}px system-ui, sans-serif`;
  context.fillStyle = "#dfe6ea";
  context.strokeStyle = "#000";
  context.lineWidth = 3 * scale;
  context.textBaseline = "middle";
  for (const [text, x, y] of [
    [left, 5 * scale, canvas.height / 2],
    [top, canvas.width / 2, 11 * scale],
  ] as const) {
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  }
}
