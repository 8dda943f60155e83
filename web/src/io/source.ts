/** A file as the user gave it, or an entry of a zip: read when it is needed, and read again rather than kept. */

import { UserMessage } from "./types.ts";

export interface Source {
  readonly name: string; // without folders
  readonly path: string; // below the folder that was given, or within the zip
  readonly size: number;
  bytes(): Promise<Uint8Array>;
}

const MOST = 2 ** 31 - 1; // bytes of an array in every browser

export function sourceOf(file: File): Source {
  const path = file.webkitRelativePath || file.name;
  return {
    name: file.name,
    path,
    size: file.size,
    async bytes(): Promise<Uint8Array> {
      if (file.size === 0) throw new UserMessage(`'${file.name}' is empty`, "replace it by a whole copy");
      if (file.size > MOST) {
        throw new UserMessage(`'${file.name}' is larger than 2 GB`, "segment it with 'sdseg predict'");
      }
      try {
        return new Uint8Array(await file.arrayBuffer());
      } catch {
        throw new UserMessage(`'${file.name}' cannot be read any more`, "give it again; it was moved, changed or too large");
      }
    },
  };
}

/** What no user means to give: hidden files, and what a Mac puts beside others. */
export function isHidden(path: string): boolean {
  return path.split("/").some((part) => part.startsWith(".") || part === "__MACOSX");
}
