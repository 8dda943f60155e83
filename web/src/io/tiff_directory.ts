/** The tags of a TIFF's pages. */

import { damaged } from "./damage.ts";
import { UserMessage } from "./types.ts";

const SIZES: Readonly<Record<number, number>> = { 1: 1, 3: 2, 4: 4 }; // bytes of a value, by its type: whole numbers

/** What of a page matters here; further tags are left unread. */
export const TAG = {
  width: 256,
  height: 257,
  bits: 258,
  compression: 259,
  meaning: 262, // of the values: photometric interpretation
  fillOrder: 266,
  stripOffsets: 273,
  orientation: 274,
  samples: 277,
  rowsPerStrip: 278,
  stripBytes: 279,
  planes: 284,
  predictor: 317,
  palette: 320,
  tileWidth: 322,
  tileHeight: 323,
  tileOffsets: 324,
  tileBytes: 325,
  extra: 338,
  numbers: 339, // sample format
} as const;

const WANTED = new Set<number>(Object.values(TAG));

export class Directory {
  constructor(private readonly tags: ReadonlyMap<number, readonly number[]>) {}

  all(tag: number): readonly number[] {
    return this.tags.get(tag) ?? [];
  }

  one(tag: number, otherwise: number): number {
    return this.all(tag)[0] ?? otherwise;
  }
}

export function isTiff(data: Uint8Array): boolean {
  const mark = String.fromCharCode(data[0] ?? 0, data[1] ?? 0);
  const [first, second] = [data[2] ?? 0, data[3] ?? 0];
  if (mark === "II") return (first === 42 || first === 43) && second === 0;
  return mark === "MM" && first === 0 && (second === 42 || second === 43);
}

/** The one page of a file. Throws UserMessage where there are several, or for a BigTIFF. */
export function onePage(data: Uint8Array, name: string): { page: Directory; little: boolean } {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const little = data[0] === 0x49;
  if (view.getUint16(2, little) === 43) throw new UserMessage(`'${name}' is a BigTIFF`, "save it as TIFF or PNG");
  const pages: Directory[] = [];
  const visited = new Set<number>();
  for (let place = view.getUint32(4, little); place !== 0 && !visited.has(place); ) {
    visited.add(place);
    const [page, next] = directoryAt(view, place, little);
    pages.push(page);
    place = next;
  }
  if (pages.length > 1) {
    const what = `'${name}' is a TIFF of ${pages.length} pages; one image is expected`;
    throw new UserMessage(what, "save each page as its own file");
  }
  const [page] = pages;
  if (page === undefined) throw damaged(name, "a TIFF without pages");
  return { page, little };
}

function directoryAt(view: DataView, place: number, little: boolean): [Directory, number] {
  const tags = new Map<number, readonly number[]>();
  const entries = view.getUint16(place, little);
  for (let index = 0; index < entries; index++) {
    const entry = place + 2 + 12 * index;
    const [tag, type] = [view.getUint16(entry, little), view.getUint16(entry + 2, little)];
    const [count, size] = [view.getUint32(entry + 4, little), SIZES[type]];
    if (!WANTED.has(tag) || size === undefined) continue;
    const start = count * size <= 4 ? entry + 8 : view.getUint32(entry + 8, little);
    if (start + count * size > view.byteLength) throw new RangeError("a tag beyond the end");
    tags.set(
      tag,
      Array.from({ length: count }, (_, number) => {
        const at = start + number * size;
        if (size === 1) return view.getUint8(at);
        return size === 2 ? view.getUint16(at, little) : view.getUint32(at, little);
      }),
    );
  }
  return [new Directory(tags), view.getUint32(place + 2 + 12 * entries, little)];
}
