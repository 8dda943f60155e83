/** What the model says of one input, and the masks that follow from it at any threshold. */

import type { Contract } from "../contract.ts";
import type { Masks, StructureResult } from "../messages.ts";
import type { Answer } from "./engine.ts";
import { percentile } from "./intensities.ts";
import { postprocess } from "./postprocess.ts";
import { maskSlice, roomForBits } from "./rule.ts";
import type { Bits } from "./rule.ts";
import { atNativeSize } from "./working.ts";
import type { Working } from "./working.ts";

const INTERVAL = [5, 95] as const; // percentiles, between which 90 % of the hypotheses lie

/** Whoever computes for long lets others speak, and stops once nobody wants the result: gives false then. */
export type Breath = (done: number, total: number) => Promise<boolean>;

export class Segmentation {
  private kept: { hypothesis: number; native: Float32Array } | null = null; // of an image, while the slider moves

  constructor(
    readonly working: Working,
    private readonly answers: readonly Answer[],
    private readonly contract: Contract,
  ) {}

  /** Masks at a threshold, of the mean (0) or of one hypothesis (from 1); null where `breath` stops it. */
  async masks(threshold: number, hypothesis: number, breath: Breath): Promise<Masks | null> {
    const { working, contract } = this;
    const bits = await this.bitsAt(threshold, hypothesis, breath);
    if (bits === null) return null;
    const pixels = working.rows * working.columns;
    const counts = contract.structures.map(() => 0);
    const sums = contract.structures.map(() => 0);
    let [firstSlice, most] = [Math.floor(working.count / 2), 0];
    for (let slice = 0; slice < working.count; slice++) {
      const own = bits.subarray(slice * pixels, (slice + 1) * pixels);
      let inside = 0;
      for (let pixel = 0; pixel < pixels; pixel++) if (own[pixel]) inside += 1;
      if (inside > most) [firstSlice, most] = [slice, inside];
      if (inside === 0) continue;
      const native = this.native(slice, hypothesis);
      contract.structures.forEach((_, number) => {
        const bit = 2 ** number;
        for (let pixel = 0; pixel < pixels; pixel++) {
          if ((own[pixel]! & bit) === 0) continue;
          counts[number]! += 1;
          sums[number]! += native[number * pixels + pixel]!;
        }
      });
    }
    const intervals = hypothesis === 0 ? await this.intervals(threshold, breath) : null;
    const structures = contract.structures.map((_, number): StructureResult => {
      const count = counts[number]!;
      return {
        pixels: count,
        millilitres: working.millilitres === null ? null : count * working.millilitres,
        confidence: count === 0 ? null : sums[number]! / count,
        interval: intervals?.[number] ?? null,
      };
    });
    return { bits, structures, firstSlice, threshold, hypothesis };
  }

  /** The probability of one slice at the native size, [structures, rows, columns]. */
  native(slice: number, hypothesis: number): Float32Array {
    if (this.working.count === 1 && this.kept?.hypothesis === hypothesis) return this.kept.native;
    const native = atNativeSize(this.answer(slice, hypothesis), this.working, this.contract);
    if (this.working.count === 1) this.kept = { hypothesis, native };
    return native;
  }

  private answer(slice: number, hypothesis: number): Float32Array {
    const { probability, hypotheses } = this.answers[slice]!;
    if (hypothesis === 0 || hypotheses === null) return probability;
    return hypotheses.subarray((hypothesis - 1) * probability.length, hypothesis * probability.length);
  }

  private async bitsAt(threshold: number, hypothesis: number, breath: Breath): Promise<Bits | null> {
    const { working, contract } = this;
    const [count, pixels] = [contract.structures.length, working.rows * working.columns];
    const bits = roomForBits(count, working.count * pixels);
    for (let slice = 0; slice < working.count; slice++) {
      const own = bits.subarray(slice * pixels, (slice + 1) * pixels);
      maskSlice(this.native(slice, hypothesis), own, count, threshold, contract.exclusive);
      if (slice % 8 === 7 && !(await breath(slice + 1, working.count))) return null;
    }
    postprocess(bits, count, working, {
      largest: contract.largestComponent,
      holes: contract.fillHoles,
      exclusive: contract.exclusive,
    });
    return bits;
  }

  /** Of every structure the interval that holds 90 % of the sizes of the hypotheses: ml of a volume, else pixels. */
  private async intervals(threshold: number, breath: Breath): Promise<(readonly [number, number])[] | null> {
    const { contract, working } = this;
    if (contract.hypotheses === 0) return null;
    const sizes = contract.structures.map(() => new Float64Array(contract.hypotheses));
    for (let hypothesis = 1; hypothesis <= contract.hypotheses; hypothesis++) {
      const bits = await this.bitsAt(threshold, hypothesis, breath);
      if (bits === null) return null;
      sizes.forEach((size, number) => {
        const bit = 2 ** number;
        let count = 0;
        for (let index = 0; index < bits.length; index++) if ((bits[index]! & bit) !== 0) count += 1;
        size[hypothesis - 1] = count * (working.millilitres ?? 1);
      });
    }
    return sizes.map((size) => {
      size.sort();
      return [percentile(size, INTERVAL[0]), percentile(size, INTERVAL[1])] as const;
    });
  }
}
