/** What is shown: images on a canvas, volumes in NiiVue, or on canvases where that cannot be. */

import type { Contract } from "../contract.ts";
import type { Masks, Shown } from "../messages.ts";
import type { Style } from "../view/paint.ts";
import { CanvasPane } from "./canvas_pane.ts";
import { byId } from "./element.ts";
import type { Pane } from "./pane.ts";
import { VolumePane } from "./volume_pane.ts";

export class Viewer {
  /** How volumes are shown other than they could be, and why; empty where all is well. */
  remark = "";
  private readonly canvases: CanvasPane;
  private readonly volumes: VolumePane | null;
  private pane: Pane;
  private shown: Shown | null = null;
  private masks: Masks | null = null;
  private style: Style | null = null;
  private unable: string | null = null;

  /** `script`: of the viewer of volumes, packed; null: of a model that takes none. `remarked`: the remark is a new one. */
  constructor(
    contract: Contract,
    script: string | null,
    private readonly remarked: (remark: string) => void,
  ) {
    this.canvases = new CanvasPane(contract);
    this.volumes = script === null ? null : new VolumePane(contract, script, () => void this.lost());
    this.pane = this.canvases;
  }

  async open(shown: Shown): Promise<void> {
    [this.shown, this.masks, this.remark] = [shown, null, ""];
    if (shown.kind === "image" || this.volumes === null || !(await this.openVolume(this.volumes, shown))) {
      await this.put(this.canvases, shown);
    }
  }

  setMasks(masks: Masks, jump: boolean): void {
    this.masks = masks;
    this.pane.setMasks(masks, jump);
  }

  setStyle(style: Style): void {
    this.style = style;
    this.pane.setStyle(style);
  }

  /** What is seen now, as a picture. */
  picture(): Promise<Blob> {
    const canvas = this.pane.picture();
    return new Promise((resolve, reject) =>
      canvas.toBlob((blob) => (blob === null ? reject(new Error("no picture")) : resolve(blob)), "image/png"),
    );
  }

  /** False where it is to be shown on canvases; the remark says why. */
  private async openVolume(volumes: VolumePane, shown: Shown): Promise<boolean> {
    try {
      if (this.unable !== null) throw new Error(this.unable);
      byId("planes").replaceChildren(...volumes.elements);
      byId("planes").classList.remove("three");
      await this.put(volumes, shown);
      return true;
    } catch (error) {
      this.remark = remarkOf(error instanceof Error ? error.message : String(error));
      return false;
    }
  }

  private async put(pane: Pane, shown: Shown): Promise<void> {
    if (this.style !== null) pane.setStyle(this.style);
    await pane.open(shown);
    this.pane = pane;
  }

  private async lost(): Promise<void> {
    this.unable = "the graphics card gave up the picture";
    if (this.shown === null || this.pane === this.canvases) return;
    this.remark = remarkOf(this.unable);
    await this.put(this.canvases, this.shown);
    if (this.masks !== null) this.canvases.setMasks(this.masks, true);
    this.remarked(this.remark);
  }
}

function remarkOf(why: string): string {
  return `Shown in planes alone, without 3-D: ${why}.`;
}
