/** What was found, in numbers; and the controls of the display. */

import type { Contract } from "../contract.ts";
import type { Asked, Masks, Shown, StructureResult } from "../messages.ts";
import type { Style } from "../view/paint.ts";
import { byId, make } from "./element.ts";
import { Threshold } from "./threshold.ts";

export interface Listener {
  masks(): void; // threshold or hypothesis were changed
  style(): void;
}

export class Panel {
  private readonly slider = byId<HTMLInputElement>("threshold");
  private readonly threshold: Threshold;
  private readonly opacity = byId<HTMLInputElement>("opacity");
  private readonly hypothesis = byId<HTMLInputElement>("hypothesis");
  private readonly outlines = byId<HTMLInputElement>("outlines");
  private readonly ticks: HTMLInputElement[] = [];
  private readonly cells: { size: HTMLElement; confidence: HTMLElement }[] = [];

  constructor(
    private readonly contract: Contract,
    listener: Listener,
  ) {
    this.threshold = new Threshold(contract.threshold);
    this.slider.value = String(contract.threshold); // which comes to lie on a step of it
    this.slider.addEventListener("input", () => this.threshold.move(Number(this.slider.value)));
    this.hypothesis.max = String(contract.hypotheses);
    byId("hypotheses-label").hidden = contract.hypotheses === 0;
    for (const input of [this.slider, this.hypothesis]) {
      input.addEventListener("input", () => (this.say(), listener.masks()));
    }
    for (const input of [this.opacity, this.outlines]) {
      input.addEventListener("input", () => (this.say(), listener.style()));
    }
    byId("panel").addEventListener("submit", (event) => event.preventDefault());
    this.rows(listener);
    this.say();
  }

  get asked(): Asked {
    return { threshold: this.threshold.value, hypothesis: Number(this.hypothesis.value) };
  }

  get style(): Style {
    const visible = this.ticks.reduce((bits, tick, number) => (tick.checked ? bits | (1 << number) : bits), 0);
    return { opacity: Number(this.opacity.value) / 100, outlines: this.outlines.checked, visible };
  }

  open(shown: Shown): void {
    byId("result-heading").textContent = shown.name;
    byId("size-heading").textContent = shown.kind === "image" ? "Area" : "Volume";
    byId("notes").replaceChildren(...shown.notes.map((note) => make("li", { textContent: note })));
    byId("overlaps").hidden = this.contract.structures.length === 1 || this.contract.exclusive;
  }

  setMasks(masks: Masks, shown: Shown): void {
    masks.structures.forEach((result, number) => {
      const cells = this.cells[number]!;
      cells.size.replaceChildren(...sizeOf(result, shown).map((text, line) => (line ? make("small", {}, text) : text)));
      cells.confidence.textContent = result.confidence === null ? "—" : percent(result.confidence);
    });
  }

  /** What a screen reader hears of the masks. */
  summary(masks: Masks, shown: Shown): string {
    const parts = masks.structures.map((result, number) => {
      const name = this.contract.structures[number]!.name;
      if (result.pixels === 0) return `${name}: nothing found`;
      return `${name}: ${sizeOf(result, shown).slice(0, 2).join(", ")}, confidence ${percent(result.confidence ?? 0)}`;
    });
    return parts.join("; ");
  }

  private rows(listener: Listener): void {
    const body = byId("sizes").querySelector("tbody")!;
    for (const structure of this.contract.structures) {
      const tick = make("input", { type: "checkbox", checked: true });
      tick.addEventListener("input", () => listener.style());
      const swatch = make("span", { className: "swatch", ariaHidden: "true" });
      swatch.style.background = `rgb(${structure.colour.join(" ")})`;
      const heading = make("th", { scope: "row" }, make("label", {}, tick, swatch, structure.name));
      const cells = { size: make("td"), confidence: make("td") };
      body.append(make("tr", {}, heading, cells.size, cells.confidence));
      this.ticks.push(tick);
      this.cells.push(cells);
    }
  }

  private say(): void {
    const { hypothesis } = this.asked;
    byId<HTMLOutputElement>("threshold-value").value = this.threshold.text;
    this.slider.setAttribute("aria-valuetext", this.threshold.text);
    byId<HTMLOutputElement>("opacity-value").value = `${this.opacity.value} %`;
    const of = this.contract.hypotheses;
    byId<HTMLOutputElement>("hypothesis-value").value = hypothesis === 0 ? `mean of ${of}` : `${hypothesis} of ${of}`;
    this.hypothesis.setAttribute("aria-valuetext", hypothesis === 0 ? `mean of ${of}` : `${hypothesis} of ${of}`);
  }
}

/** "1.24 ml", or pixels and their share of the image; then the interval over the hypotheses. */
function sizeOf(result: StructureResult, shown: Shown): string[] {
  const whole = (value: number): string => Math.round(value).toLocaleString("en");
  const millilitres = (value: number): string => (value < 10 ? value.toFixed(2) : value.toFixed(1));
  const interval = (form: (value: number) => string): string[] =>
    result.interval === null ? [] : [`90 %: ${form(result.interval[0])} to ${form(result.interval[1])}`];
  if (result.millilitres !== null) {
    return [`${millilitres(result.millilitres)} ml`, `${whole(result.pixels)} voxels`, ...interval(millilitres)];
  }
  const share = result.pixels / (shown.rows * shown.columns);
  return [`${whole(result.pixels)} pixels`, `${percent(share)} of the image`, ...interval(whole)];
}

function percent(share: number): string {
  const value = share * 100;
  return `${value > 0 && value < 10 ? value.toFixed(1) : value.toFixed(0)}\u00a0%`;
}
