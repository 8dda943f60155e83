/** The threshold: the model's own, to its last digit, until the user moves the slider, whose steps are coarser. */

export class Threshold {
  private moved: number | null = null;

  constructor(private readonly own: number) {}

  get value(): number {
    return this.moved ?? this.own;
  }

  move(to: number): void {
    this.moved = to;
  }

  get text(): string {
    if (this.value !== this.own) return this.value.toFixed(2);
    const short = this.own.toFixed(2);
    return `${Number(short) === this.own ? short : String(this.own)} (the model's own)`;
  }
}
