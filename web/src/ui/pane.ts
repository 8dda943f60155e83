/** What shows an input: canvases of the page's own, or a viewer of volumes. */

import type { Masks, Shown } from "../messages.ts";
import type { Style } from "../view/paint.ts";

export interface Pane {
  /** Rejects where it cannot show this. */
  open(shown: Shown): Promise<void>;
  setMasks(masks: Masks, jump: boolean): void;
  setStyle(style: Style): void;
  picture(): HTMLCanvasElement;
}
