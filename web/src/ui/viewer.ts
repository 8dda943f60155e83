/** The planes of what is shown: one canvas for an image, three with a slider each for a volume. */

import type { Contract } from "../contract.ts";
import type { Masks, Shown } from "../messages.ts";
import { paint } from "../view/paint.ts";
import type { Style } from "../view/paint.ts";
import { SIDES, cut, placeIn, placeOf, shapeOf } from "../view/planes.ts";
import type { Place, Section, SectionShape } from "../view/planes.ts";
import { byId, make } from "./element.ts";

const TITLES: Record<Section, string> = { axial: "Axial", coronal: "Coronal", sagittal: "Sagittal" };
const TALLEST = 0.75; // of the window's height

interface View {
  readonly shape: SectionShape;
  readonly figure: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  readonly slider: HTMLInputElement | null;
  readonly place: HTMLOutputElement | null;
}

export class Viewer {
  private shown: Shown | null = null;
  private masks: Masks | null = null;
  private views: View[] = [];
  private style: Style = { opacity: 0.15, outlines: true, visible: -1 };
  private waiting = false;

  constructor(private readonly contract: Contract) {
    new ResizeObserver(() => this.draw()).observe(byId("planes"));
  }

  open(shown: Shown): void {
    this.shown = shown;
    this.masks = null;
    const sections: Section[] = shown.kind === "volume" ? ["axial", "coronal", "sagittal"] : ["axial"];
    this.views = sections.map((section) => this.view(shapeOf(shown, section), shown));
    byId("planes").classList.toggle("three", sections.length > 1);
    byId("planes").replaceChildren(...this.views.map((view) => view.figure));
    this.draw();
  }

  setMasks(masks: Masks, jump: boolean): void {
    this.masks = masks;
    if (jump && this.shown?.kind === "volume") {
      const { rows, columns } = this.shown;
      const [row, column] = centreOf(masks, masks.firstSlice, rows, columns);
      this.moveTo(placeOf(this.shown, masks.firstSlice, row, column));
    }
    this.draw();
  }

  setStyle(style: Style): void {
    this.style = style;
    this.draw();
  }

  /** What is seen now, as a picture. */
  async picture(): Promise<Blob> {
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
    return new Promise((resolve, reject) =>
      canvas.toBlob((blob) => (blob === null ? reject(new Error("no picture")) : resolve(blob)), "image/png"),
    );
  }

  private view(shape: SectionShape, shown: Shown): View {
    const title = TITLES[shape.section];
    const canvas = make("canvas");
    canvas.setAttribute("role", "img");
    const figure = make("figure", {}, canvas);
    if (shown.kind === "image") return { shape, figure, canvas, slider: null, place: null };
    const place = make("output");
    const slider = make("input", {
      type: "range",
      min: "1",
      max: String(shape.count),
      value: String(Math.ceil(shape.count / 2)),
      ariaLabel: `${title} slice`,
    });
    slider.addEventListener("input", () => this.draw());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      slider.value = String(Number(slider.value) + Math.sign(event.deltaY));
      this.draw();
    });
    canvas.addEventListener("pointerdown", (event) => {
      const box = canvas.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      this.moveTo(placeIn(shown, shape.section, Number(slider.value) - 1, x, y));
      this.draw();
    });
    figure.append(make("figcaption", {}, make("span", {}, title), slider, place));
    return { shape, figure, canvas, slider, place };
  }

  private moveTo(place: Place): void {
    this.views.forEach((view, axis) => {
      if (view.slider !== null) view.slider.value = String(place[axis]! + 1);
    });
  }

  private draw(): void {
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
    const { aspect, section, count } = view.shape;
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
    const index = view.slider === null ? 0 : Number(view.slider.value) - 1;
    paint(view.canvas, cut(shown, this.masks, section, index), this.contract.structures, this.style);
    if (shown.kind === "volume") letters(view.canvas, section, scale);
    const where = shown.kind === "image" ? "" : `${TITLES[section]} slice ${index + 1} of ${count}, `;
    view.canvas.setAttribute("aria-label", `${where}${shown.name} with the outlines of the mask`);
    view.slider?.setAttribute("aria-valuetext", `${index + 1} of ${count}`);
    if (view.place !== null) view.place.value = `${index + 1} / ${count}`;
  }
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

/** Row and column in the middle of a slice's mask. */
function centreOf(masks: Masks, slice: number, rows: number, columns: number): [number, number] {
  let [sumRow, sumColumn, count] = [0, 0, 0];
  for (let row = 0, index = slice * rows * columns; row < rows; row++) {
    for (let column = 0; column < columns; column++, index++) {
      if (masks.bits[index]) [sumRow, sumColumn, count] = [sumRow + row, sumColumn + column, count + 1];
    }
  }
  if (count === 0) return [Math.floor(rows / 2), Math.floor(columns / 2)];
  return [Math.round(sumRow / count), Math.round(sumColumn / count)];
}
