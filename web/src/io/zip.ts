/** The entries of a zip, unpacked one by one when they are asked for, none further than its own record says. */

import { asMessage, damaged } from "./damage.ts";
import { inflate } from "./inflate.ts";
import { LIMITS, grouped } from "./limits.ts";
import type { Source } from "./source.ts";
import { UserMessage } from "./types.ts";

const [LOCAL, CENTRAL, END] = [0x04034b50, 0x02014b50, 0x06054b50];
const END_SIZE = 22;
const LONGEST_COMMENT = 65_535;

export function isZip(data: Uint8Array): boolean {
  return data[0] === 0x50 && data[1] === 0x4b && ((data[2] === 3 && data[3] === 4) || (data[2] === 5 && data[3] === 6));
}

/** Throws UserMessage for a zip that is damaged, locked, or holds more than the memory should. */
export function entriesOf(data: Uint8Array, name: string): Source[] {
  try {
    return read(data, name);
  } catch (error) {
    throw asMessage(name, error);
  }
}

function read(data: Uint8Array, name: string): Source[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const end = endOf(view);
  if (end < 0) throw damaged(name, "a zip without its list of contents");
  const count = view.getUint16(end + 10, true);
  const start = view.getUint32(end + 16, true);
  if (count === 0xffff || start === 0xffffffff) {
    throw new UserMessage(`'${name}' is a zip larger than 4 GB or of more than 65,534 files`, "unpack it first");
  }
  if (count > LIMITS.entries) {
    const what = `'${name}' holds ${grouped(count)} files, and at most ${grouped(LIMITS.entries)} are read`;
    throw new UserMessage(what, "give the folder with what is meant");
  }
  const sources: Source[] = [];
  let total = 0;
  for (let index = 0, place = start; index < count; index++) {
    if (view.getUint32(place, true) !== CENTRAL) throw damaged(name, "a zip with a damaged list of contents");
    const [flags, method] = [view.getUint16(place + 8, true), view.getUint16(place + 10, true)];
    const [packed, size] = [view.getUint32(place + 20, true), view.getUint32(place + 24, true)];
    const nameLength = view.getUint16(place + 28, true);
    const local = view.getUint32(place + 42, true);
    const path = new TextDecoder().decode(data.subarray(place + 46, place + 46 + nameLength));
    place += 46 + nameLength + view.getUint16(place + 30, true) + view.getUint16(place + 32, true);
    if (path.endsWith("/")) continue; // a folder
    if (flags & 1) throw new UserMessage(`'${name}' is locked with a password`, "unpack it first");
    if (method !== 0 && method !== 8) throw new UserMessage(`'${name}' is packed in an unusual way`, "unpack it first");
    total += size;
    sources.push(entry(data, view, { zip: name, path, method, packed, size, local }));
  }
  if (total > LIMITS.unpacked) {
    const what = `'${name}' unpacks to ${grouped(total)} bytes, and at most ${grouped(LIMITS.unpacked)} are read`;
    throw new UserMessage(what, "unpack it, and give the folder with what is meant");
  }
  return sources;
}

/** Where the record at the end begins; a comment may follow it. */
function endOf(view: DataView): number {
  const last = view.byteLength - END_SIZE;
  for (let place = last; place >= Math.max(0, last - LONGEST_COMMENT); place--) {
    if (view.getUint32(place, true) === END) return place;
  }
  return -1;
}

interface Entry {
  readonly zip: string;
  readonly path: string;
  readonly method: number;
  readonly packed: number;
  readonly size: number;
  readonly local: number;
}

function entry(data: Uint8Array, view: DataView, { zip, path, method, packed, size, local }: Entry): Source {
  const name = path.split("/").at(-1)!;
  return {
    name,
    path,
    size,
    async bytes(): Promise<Uint8Array> {
      try {
        if (view.getUint32(local, true) !== LOCAL) throw new Error("no header");
        const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
        const content = data.subarray(start, start + packed);
        const bytes = method === 0 ? content : inflate(content, "deflate", size);
        if (bytes.length < size) throw new Error("too short");
        return bytes;
      } catch (error) {
        throw asMessage(`${name}' in '${zip}`, error);
      }
    },
  };
}
