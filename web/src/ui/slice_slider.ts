/** Which slice of a section is seen: its name, a slider, and the number in words. */

import type { Section, SectionShape } from "../view/planes.ts";
import { make } from "./element.ts";

export const TITLES: Record<Section, string> = { axial: "Axial", coronal: "Coronal", sagittal: "Sagittal" };

export class SliceSlider {
  readonly elements: readonly HTMLElement[];
  private readonly slider: HTMLInputElement;
  private readonly place = make("output");

  /** Stands in the middle. `moved` is called where the user moves it, not where `index` is set. */
  constructor(
    private readonly shape: SectionShape,
    moved: () => void,
  ) {
    const title = TITLES[shape.section];
    this.slider = make("input", { type: "range", min: "1", max: String(shape.count), ariaLabel: `${title} slice` });
    this.slider.addEventListener("input", () => (this.say(), moved()));
    this.elements = [make("span", {}, title), this.slider, this.place];
    this.index = Math.ceil(shape.count / 2) - 1;
  }

  get index(): number {
    return Number(this.slider.value) - 1;
  }

  set index(index: number) {
    this.slider.value = String(index + 1); // which is kept between its ends
    this.say();
  }

  get text(): string {
    return `${this.slider.value} of ${this.shape.count}`;
  }

  private say(): void {
    this.slider.setAttribute("aria-valuetext", this.text);
    this.place.value = `${this.slider.value} / ${this.shape.count}`;
  }
}
