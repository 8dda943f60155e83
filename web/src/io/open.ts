/** What a user drops, chooses or gives as a folder or zip, as pictures and volumes. */

import { asMessage, damaged } from "./damage.ts";
import { noSlices, readSeries, seriesOf } from "./dicom.ts";
import type { Slice } from "./dicom_header.ts";
import { isDicom, readHeader } from "./dicom_header.ts";
import { isNiftiFile, readNifti } from "./nifti.ts";
import { isPicture, readPicture } from "./picture.ts";
import type { Source } from "./source.ts";
import { isHidden, sourceOf } from "./source.ts";
import type { Input } from "./types.ts";
import { UserMessage } from "./types.ts";
import { entriesOf, isZip } from "./zip.ts";

const KNOWN = "PNG, JPEG, BMP, TIFF, NIfTI (.nii, .nii.gz), a folder or zip of a DICOM series";
const PICTURES = /\.(png|jpe?g|tiff?|bmp)$/i;
const VOLUMES = /\.nii(\.gz)?$/i;
const OTHER_VOLUMES = /\.(mha|mhd|nrrd|nhdr)$/i;
const MOST = 64; // pictures and volumes that are read together: each is held in memory

/**
 * Pictures, volumes and DICOM series, told apart by what the files hold and not by their names.
 *
 * In a folder or zip other files are passed over; one that is named as a picture or volume and is none is an error.
 * Throws UserMessage for the first thing that cannot be read, and where there is nothing to read.
 */
export async function openFiles(files: readonly File[]): Promise<Input[]> {
  const sources = files.map(sourceOf).filter((source) => files.length === 1 || !isHidden(source.path));
  const first = sources[0];
  if (first === undefined) throw new UserMessage("no files in what was given", `give ${KNOWN}`);
  const listing: Listing = { inputs: [], slices: [], others: [] };
  for (const source of sources) await sort(source, listing, sources.length > 1);
  const name = sources.length === 1 ? first.name : first.path.includes("/") ? first.path.split("/")[0]! : "series";
  await addSeries(listing, name);
  if (listing.inputs.length === 0) throw unknown(listing.others[0] ?? name);
  return listing.inputs;
}

interface Listing {
  readonly inputs: Input[];
  readonly slices: Slice[];
  readonly others: string[]; // names of what is neither
}

async function sort(source: Source, listing: Listing, among: boolean): Promise<void> {
  const { name } = source;
  if (listing.inputs.length >= MOST) throw new UserMessage(`more than ${MOST} files`, "give fewer at a time");
  const data = await source.bytes();
  if (isZip(data)) {
    const entries = entriesOf(data, name).filter((entry) => !isHidden(entry.path));
    for (const entry of entries) {
      if (/\.zip$/i.test(entry.name)) listing.others.push(entry.name);
      else await sort(entry, listing, true);
    }
  } else if (isPicture(data)) {
    listing.inputs.push(await readPicture(data, name));
  } else if (isNiftiFile(data)) {
    listing.inputs.push(readNifti(data, name));
  } else if (isDicom(data, name)) {
    listing.slices.push(readHeader(data, source));
  } else if (VOLUMES.test(name)) {
    throw damaged(name, "not a NIfTI file");
  } else if (PICTURES.test(name)) {
    throw damaged(name, "not a PNG, JPEG, TIFF or BMP");
  } else if (!among) {
    throw unknown(name);
  } else {
    listing.others.push(name);
  }
}

async function addSeries(listing: Listing, name: string): Promise<void> {
  if (listing.slices.length === 0) return;
  const { series, skipped } = seriesOf(listing.slices);
  if (series.length === 0 && listing.inputs.length === 0) throw noSlices(name, skipped);
  for (const one of series) {
    const own = series.length === 1 ? stem(name) : `${stem(name)} ${one.title}`;
    try {
      const volume = await readSeries(one, own);
      listing.inputs.push({ ...volume, notes: [...volume.notes, ...skipped.map((reason) => `left out: ${reason}`)] });
    } catch (error) {
      throw asMessage(own, error);
    }
  }
}

function stem(name: string): string {
  return name.replace(/\.(zip|dcm|dicom|ima)$/i, "");
}

function unknown(name: string): UserMessage {
  if (OTHER_VOLUMES.test(name)) {
    return new UserMessage(`'${name}' is a MetaImage or NRRD`, "convert it to NIfTI, or segment it with 'sdseg predict'");
  }
  return new UserMessage(`'${name}' is no image or volume that is read here`, `give ${KNOWN}`);
}
