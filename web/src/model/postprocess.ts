/** What is mended in the masks of a whole case, as sdseg/data/postprocessing.py. Masks are [slices, rows, columns]. */

import type { Bits } from "./rule.ts";

export interface Grid {
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
}

export interface Mending {
  readonly largest: boolean;
  readonly holes: boolean;
  readonly exclusive: boolean;
}

/** Keep the largest part of every structure, then fill its holes, as asked; `bits` is changed. */
export function postprocess(bits: Bits, structures: number, grid: Grid, mending: Mending): void {
  if (mending.largest) {
    for (let number = 0; number < structures; number++) {
      put(bits, number, inItsBox(maskOf(bits, number), grid, largestComponent));
    }
  }
  if (!mending.holes) return;
  const occupied = mending.exclusive && structures > 1 ? bits.map((value) => (value ? 1 : 0)) : null;
  for (let number = 0; number < structures; number++) {
    const own = maskOf(bits, number);
    const filled = inItsBox(own, grid, fillHoles);
    if (occupied) {
      for (let index = 0; index < filled.length; index++) {
        if (filled[index] && !own[index] && occupied[index]) filled[index] = 0;
        else if (filled[index]) occupied[index] = 1;
      }
    }
    put(bits, number, filled);
  }
}

/** The largest connected part, neighbours over corners included; of equal ones the first. */
export function largestComponent(mask: Uint8Array, grid: Grid): Uint8Array {
  const labels = new Int32Array(mask.length);
  let largest = 0;
  let size = 0;
  let label = 0;
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || labels[start]) continue;
    label += 1;
    const reached = flood(start, grid, true, (index) => mask[index] === 1 && labels[index] === 0, (index) => {
      labels[index] = label;
    });
    if (reached > size) {
      size = reached;
      largest = label;
    }
  }
  return mask.map((value, index) => (value && labels[index] === largest ? 1 : 0));
}

/**
 * The mask with what it encloses: background from which no way over edges of pixels leads outside.
 *
 * In two dimensions of an image; in a volume a hole is closed in all three, even where `grid` is one slice of it.
 */
export function fillHoles(mask: Uint8Array, grid: Grid, volume = grid.count > 1): Uint8Array {
  const outside = new Uint8Array(mask.length);
  const enter = (start: number): void => {
    if (mask[start] || outside[start]) return;
    flood(start, grid, false, (index) => !mask[index] && !outside[index], (index) => {
      outside[index] = 1;
    });
  };
  for (let slice = 0, index = 0; slice < grid.count; slice++) {
    for (let row = 0; row < grid.rows; row++) {
      for (let column = 0; column < grid.columns; column++, index++) {
        const lid = volume && (slice === 0 || slice === grid.count - 1);
        if (lid || row === 0 || row === grid.rows - 1 || column === 0 || column === grid.columns - 1) enter(index);
      }
    }
  }
  return outside.map((value) => (value ? 0 : 1));
}

/** What `change` makes of a mask: only the smallest box around it has to be looked at. */
function inItsBox(
  mask: Uint8Array,
  grid: Grid,
  change: (mask: Uint8Array, box: Grid, volume: boolean) => Uint8Array,
): Uint8Array {
  const low = [grid.count, grid.rows, grid.columns];
  const high = [-1, -1, -1];
  for (let slice = 0, index = 0; slice < grid.count; slice++) {
    for (let row = 0; row < grid.rows; row++) {
      for (let column = 0; column < grid.columns; column++, index++) {
        if (!mask[index]) continue;
        [slice, row, column].forEach((place, axis) => {
          low[axis] = Math.min(low[axis]!, place);
          high[axis] = Math.max(high[axis]!, place);
        });
      }
    }
  }
  if (high[0]! < 0) return mask;
  const box = { count: high[0]! - low[0]! + 1, rows: high[1]! - low[1]! + 1, columns: high[2]! - low[2]! + 1 };
  const rowsOfBox = function* (): Generator<readonly [number, number]> {
    for (let slice = 0, part = 0; slice < box.count; slice++) {
      for (let row = 0; row < box.rows; row++, part += box.columns) {
        yield [((slice + low[0]!) * grid.rows + row + low[1]!) * grid.columns + low[2]!, part];
      }
    }
  };
  const cut = new Uint8Array(box.count * box.rows * box.columns);
  for (const [whole, part] of rowsOfBox()) cut.set(mask.subarray(whole, whole + box.columns), part);
  const changed = change(cut, box, grid.count > 1);
  const result = mask.slice();
  for (const [whole, part] of rowsOfBox()) result.set(changed.subarray(part, part + box.columns), whole);
  return result;
}

function maskOf(bits: Bits, number: number): Uint8Array {
  const mask = new Uint8Array(bits.length);
  const bit = 2 ** number;
  for (let index = 0; index < bits.length; index++) if ((bits[index]! & bit) !== 0) mask[index] = 1;
  return mask;
}

function put(bits: Bits, number: number, mask: Uint8Array): void {
  const bit = 2 ** number;
  for (let index = 0; index < bits.length; index++) {
    const has = (bits[index]! & bit) !== 0;
    if (has && !mask[index]) bits[index]! -= bit;
    else if (!has && mask[index]) bits[index]! += bit;
  }
}

/** Visit what is connected to `start`; gives how many were visited. */
function flood(
  start: number,
  grid: Grid,
  corners: boolean,
  free: (index: number) => boolean,
  take: (index: number) => void,
): number {
  const { count, rows, columns } = grid;
  const plane = rows * columns;
  const waiting = [start];
  take(start);
  let visited = 0;
  while (waiting.length) {
    const index = waiting.pop()!;
    visited += 1;
    const slice = Math.floor(index / plane);
    const row = Math.floor((index % plane) / columns);
    const column = index % columns;
    for (let z = Math.max(0, slice - 1); z <= Math.min(count - 1, slice + 1); z++) {
      for (let y = Math.max(0, row - 1); y <= Math.min(rows - 1, row + 1); y++) {
        for (let x = Math.max(0, column - 1); x <= Math.min(columns - 1, column + 1); x++) {
          const steps = Math.abs(z - slice) + Math.abs(y - row) + Math.abs(x - column);
          if (steps === 0 || (!corners && steps > 1)) continue;
          const next = (z * rows + y) * columns + x;
          if (!free(next)) continue;
          take(next);
          waiting.push(next);
        }
      }
    }
  }
  return visited;
}
