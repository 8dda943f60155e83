/** Whose turn it is: one long work at a time, and masks anew as soon as nothing is in their way. */

import type { Asked } from "../messages.ts";

export interface Hands {
  asked(): Asked | null; // where the sliders stand; null: nothing is shown
  remask(asked: Asked, first: boolean): Promise<boolean>; // false: given up for a later one
  failed(error: unknown): void; // of masks that were computed after a slider had moved
  wait(): number; // ms without another move of a slider
}

export class Turns {
  private working = false;
  private settled: Asked | null = null; // for which masks were computed last, or failed
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly hands: Hands) {}

  /** Nothing is computed, and the masks are those the sliders ask for. */
  get idle(): boolean {
    return !this.working && !this.stale;
  }

  /** Gives false, and does nothing, while something else is at work. Rejects as `action` does. */
  async work(action: () => Promise<void>): Promise<boolean> {
    if (this.working) return false;
    this.working = true;
    try {
      await action();
    } finally {
      this.working = false;
      if (this.stale) this.refresh(); // a slider was moved meanwhile
    }
    return true;
  }

  /** The masks that are shown are of another input, or none any more. */
  forget(): void {
    this.settled = null;
  }

  /** Compute masks as the sliders stand now. */
  async remask(first = false): Promise<void> {
    const asked = this.hands.asked();
    if (asked === null) return;
    try {
      if (await this.hands.remask(asked, first)) this.settled = asked;
    } catch (error) {
      this.settled = asked; // another try would fail as well
      throw error;
    }
  }

  /** After a slider has moved. */
  refresh(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (this.working) return; // at its end it sees that the masks are old
      this.remask().catch((error: unknown) => this.hands.failed(error));
    }, this.hands.wait());
  }

  private get stale(): boolean {
    const asked = this.hands.asked();
    return asked !== null && !same(asked, this.settled);
  }
}

export function same(one: Asked, other: Asked | null): boolean {
  return other !== null && one.threshold === other.threshold && one.hypothesis === other.hypothesis;
}
