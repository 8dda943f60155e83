/** How files come in: dropped, chosen, or the sample. */

import { UserMessage } from "../io/types.ts";
import { byId } from "./element.ts";

/** Calls `take` with whatever files the user gives, `failed` where they cannot be got at; nothing is read here. */
export function listen(take: (files: File[]) => void, failed: (error: unknown) => void): void {
  const drop = byId("drop");
  const files = byId<HTMLInputElement>("files");
  const folder = byId<HTMLInputElement>("folder");
  byId("choose-files").addEventListener("click", () => files.click());
  byId("choose-folder").addEventListener("click", () => folder.click());
  for (const input of [files, folder]) {
    input.addEventListener("change", () => {
      const chosen = [...(input.files ?? [])];
      input.value = ""; // the same file may be chosen again
      if (chosen.length > 0) take(chosen);
    });
  }
  // Anywhere on the page: a file that misses the field would otherwise replace the page. And first: the viewer of
  // volumes keeps to itself what is dropped on it.
  const first = { capture: true };
  const over = (event: Event): void => {
    event.preventDefault();
    drop.classList.add("over");
  };
  document.addEventListener("dragover", over, first);
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  const dropped = (event: DragEvent): void => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer === null) return;
    filesOf(event.dataTransfer).then((files) => {
      if (files.length > 0) take(files);
    }, (error: unknown) => failed(unreadable(error)));
  };
  document.addEventListener("drop", dropped, first);
  document.addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (pasted.length > 0) take(pasted);
  });
}

function unreadable(error: unknown): UserMessage {
  const why = error instanceof Error ? error.message : String(error);
  return new UserMessage(`what was dropped cannot be read (${why})`, "check that it is still there, or choose it by the buttons");
}

/** Files that were dropped, those in folders as well. */
async function filesOf(data: DataTransfer): Promise<File[]> {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (entries.length === 0) return [...data.files];
  return (await Promise.all(entries.map(filesBelow))).flat();
}

async function filesBelow(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) {
    return [await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject))];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const files: File[] = [];
  for (;;) {
    // A reader gives some hundred entries at a time.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return files;
    files.push(...(await Promise.all(some.map(filesBelow))).flat());
  }
}
