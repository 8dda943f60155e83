/**
 * Files that are channels of one case, told by their names: CASE_T2, T2, or nnU-Net's CASE_0001.
 *
 * As sdseg/inference/tell_channel.py tells them, but for folders, which a page does not go by.
 */

import type { Contract } from "../contract.ts";
import { differenceOfGrids } from "../io/geometry.ts";
import type { Input } from "../io/types.ts";
import { UserMessage } from "../io/types.ts";

const SUFFIXES = /\.(nii\.gz|nii|png|jpe?g|bmp|tiff?|dcm|zip)$/i;
const SEPARATORS = "_-. ";

/** What is segmented as one: a file, or those of every channel in the model's order, on one grid. */
export interface Case {
  readonly name: string;
  readonly channels: readonly Input[];
  readonly notes: readonly string[]; // of what was left out beside it
}

/** A name without what tells the kind of the file. */
export function stemOf(name: string): string {
  return name.replace(/^.*[\\/]/, "").replace(SUFFIXES, "");
}

/** The cases among some inputs. Throws UserMessage where there is no whole one, for the first thing that is amiss. */
export function casesOf(inputs: readonly Input[], contract: Pick<Contract, "channelNames">): Case[] {
  const names = contract.channelNames;
  if (names.length === 0) return inputs.map((input) => ({ name: input.name, channels: [input], notes: [] }));
  const problems: UserMessage[] = [];
  const files = new Map<string, Map<number, Input>>();
  for (const input of inputs) {
    try {
      add(input, names, files);
    } catch (error) {
      if (!(error instanceof UserMessage)) throw error;
      problems.push(error);
    }
  }
  const cases: Omit<Case, "notes">[] = [];
  for (const [name, own] of files) {
    const wrong = fault(name, own, names);
    if (wrong === null) cases.push({ name, channels: names.map((_, number) => own.get(number)!) });
    else problems.push(wrong);
  }
  if (cases.length === 0) throw problems[0] ?? new Error("no case");
  const notes = problems.map((problem) => `left out: ${problem.what}`);
  return cases.map((one) => ({ ...one, notes }));
}

/** What a model of one of the channels alone would want. */
export function contractOfChannel(contract: Contract, number: number): Contract {
  if (contract.channelNames.length === 0) return contract;
  return {
    ...contract,
    channels: 1,
    normalisations: contract.normalisations.slice(number, number + 1),
    intensities: contract.channelIntensities[number] ?? contract.intensities,
  };
}

/** Notes of every channel: what all say once, the rest with the name of its channel. */
export function sharedNotes(notes: readonly (readonly string[])[], names: readonly string[]): string[] {
  if (names.length === 0) return notes.flat();
  const common = notes[0]!.filter((note) => notes.every((own) => own.includes(note)));
  const others = notes.flatMap((own, number) =>
    own.filter((note) => !common.includes(note)).map((note) => `${names[number]}: ${note}`));
  return [...common, ...others];
}

function add(input: Input, names: readonly string[], files: Map<string, Map<number, Input>>): void {
  const [name, number] = told(input.name, names);
  if (number >= names.length) {
    throw new UserMessage(
      `'${input.name}' is channel ${number}, counted from 0, of a model that sees ${names.join(", ")}`,
      "leave it out",
    );
  }
  const own = files.get(name) ?? new Map<number, Input>();
  files.set(name, own);
  const earlier = own.get(number);
  if (earlier !== undefined) {
    const both = `'${earlier.name}' and '${input.name}'`;
    throw new UserMessage(`${both} are both the channel ${names[number]} of '${name}'`, "give one of them");
  }
  own.set(number, input);
}

/** The case that a file is of, and the number of its channel. */
function told(file: string, names: readonly string[]): [string, number] {
  const stem = stemOf(file);
  const lower = stem.toLowerCase();
  const whole = names.findIndex((name) => name.toLowerCase() === lower);
  if (whole >= 0) return ["case", whole];
  const ending = [...names]
    .sort((one, other) => other.length - one.length)
    .find((name) => lower.endsWith(name.toLowerCase()) && SEPARATORS.includes(stem.at(-name.length - 1) ?? "?"));
  if (ending !== undefined && stem.length > ending.length + 1) {
    return [stem.slice(0, -ending.length - 1), names.indexOf(ending)];
  }
  const numbered = /^(.+)_(\d{4})$/.exec(stem);
  if (numbered !== null) return [numbered[1]!, Number(numbered[2])];
  throw new UserMessage(
    `the name of '${file}' tells no channel, and the model sees ${names.join(", ")}`,
    `name the files CASE_0000, CASE_0001, … or CASE_${names[0]}, …`,
  );
}

/** Why the files of a case are none; null where they are. */
function fault(name: string, own: ReadonlyMap<number, Input>, names: readonly string[]): UserMessage | null {
  const sees = `the model sees ${names.join(", ")}`;
  const missing = names.filter((_, number) => !own.has(number));
  if (missing.length > 0) {
    const remedy = "give it together with the others, named likewise";
    return new UserMessage(`'${name}': its file of ${missing.join(", ")} is missing; ${sees}`, remedy);
  }
  const first = own.get(0)!;
  for (let number = 1; number < names.length; number++) {
    const other = own.get(number)!;
    const difference = unlike(first, other);
    if (difference !== null) {
      const what = `the channels ${names[0]} and ${names[number]} of '${name}' do not lie on one another: ${difference}`;
      return new UserMessage(what, "resample one onto the grid of the other");
    }
  }
  return null;
}

function unlike(one: Input, other: Input): string | null {
  if (one.kind === "image" && other.kind === "image") {
    if (one.width === other.width && one.height === other.height) return null;
    return `${one.width} × ${one.height} and ${other.width} × ${other.height} pixels`;
  }
  if (one.kind === "volume" && other.kind === "volume") return differenceOfGrids(one, other);
  return "one is an image, the other a volume";
}
