/** A volume and its mask in NiiVue, on one canvas: a script of its own, which the page runs once it has a volume. */

import { DRAG_MODE, NVImage, Niivue, SLICE_TYPE, cmapper } from "@niivue/niivue";

import { labelHeader } from "../io/nifti_header.ts";
import type { Colour } from "../contract.ts";
import type { Tile } from "../view/layout.ts";
import type { PatientVolume, Triple } from "../view/patient.ts";

const SLICES = { axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL };
const MOST_VOXELS = 2 ** 27; // 512 slices of 512 × 512, of which each voxel takes 6 bytes on the graphics card
// Of a view in 3-D:
const MOST_IN_SOFTWARE = 2 ** 23; // voxels
const [AZIMUTH, ELEVATION, ZOOM] = [160, 15, 1.25]; // degrees: from the front and a little from the left and above
const GHOST = 0.4; // opacity of the image around the mask
const CROSSHAIR = [0.35, 0.75, 0.82, 0.9];

export class Scene {
  private solid = false;
  private opacity = 0;

  private constructor(
    private readonly viewer: Niivue,
    private readonly canvas: HTMLCanvasElement,
  ) {}

  /**
   * Rejects where the browser has no WebGL 2. `canvas` fills its parent, and must be on the page; `moved` is told of the
   * voxel where the user puts the crosshair.
   */
  static async attach(
    canvas: HTMLCanvasElement,
    colours: readonly Colour[],
    moved: (voxel: Triple) => void,
  ): Promise<Scene> {
    const viewer = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: CROSSHAIR,
      crosshairWidth: 0.3,
      crosshairWidthUnit: "percent",
      dragAndDropEnabled: false,
      dragMode: DRAG_MODE.none,
      fontColor: [0.87, 0.9, 0.92, 1],
      isAntiAlias: false,
      isRadiologicalConvention: true,
      loadingText: "",
      logLevel: "silent",
      sagittalNoseLeft: true,
      show3Dcrosshair: true,
    });
    viewer.meshShaders = []; // this page has no meshes, and these take a second to compile
    await viewer.attachToCanvas(canvas, false);
    widenOutlines(viewer, Math.max(2, Math.round(1.5 * window.devicePixelRatio)));
    viewer.scene.renderAzimuth = AZIMUTH;
    viewer.scene.renderElevation = ELEVATION;
    viewer.scene.volScaleMultiplier = ZOOM;
    viewer.onLocationChange = (location): void => {
      const { vox } = location as { readonly vox: ArrayLike<number> };
      moved([vox[0]!, vox[1]!, vox[2]!]);
    };
    viewer.drawLut = cmapper.makeDrawLut(colourMap(colours));
    return new Scene(viewer, canvas);
  }

  /** Why a volume of this size cannot be shown, in words; null: it can. */
  refusal(volume: PatientVolume): string | null {
    const longest = this.viewer.uiData.max3D ?? 0;
    if (Math.max(...volume.shape) > longest) return `a side of more than ${longest} voxels`;
    return volume.values.length > MOST_VOXELS ? "more voxels than 512 slices of 512 × 512" : null;
  }

  /** Whether 3-D takes less than minutes: not of a large volume where the processor draws. */
  drawsSolid(volume: PatientVolume): boolean {
    const { gl } = this.viewer;
    const asked = gl.getExtension("WEBGL_debug_renderer_info");
    const name = String(gl.getParameter(asked === null ? gl.RENDERER : asked.UNMASKED_RENDERER_WEBGL));
    return volume.values.length <= MOST_IN_SOFTWARE || !/swiftshader|llvmpipe|software|basic render/i.test(name);
  }

  async show(volume: PatientVolume): Promise<void> {
    const [x, y, z] = volume.mm;
    const affine = [[x, 0, 0, 0], [0, y, 0, 0], [0, 0, z, 0], [0, 0, 0, 1]] as const;
    const header = labelHeader({ name: "", shape: volume.shape, affine, header: null });
    const file = new File([header, volume.values], "volume.nii");
    const image = await NVImage.loadFromFile({ file, name: "volume.nii", cal_min: 0, cal_max: 255 });
    [image.robust_min, image.robust_max] = [0, 255]; // to which a double click would bring it
    while (this.viewer.volumes.length > 0) this.viewer.removeVolume(this.viewer.volumes[0]!);
    this.viewer.addVolume(image);
    this.viewer.createEmptyDrawing();
    const { gl } = this.viewer;
    if (gl.getError() !== gl.OUT_OF_MEMORY) return;
    this.viewer.removeVolume(image);
    throw new Error("the graphics card has too little memory for it");
  }

  setLabels(labels: Uint8Array): void {
    this.viewer.drawBitmap = labels;
    this.viewer.refreshDrawing(true);
  }

  setStyle(opacity: number, outlines: boolean): void {
    this.opacity = opacity;
    this.viewer.drawRimOpacity = outlines ? 1 : -1;
    this.blend();
  }

  showPlanes(tiles: readonly Tile[]): void {
    this.viewer.opts.sliceType = SLICE_TYPE.MULTIPLANAR;
    this.viewer.setCustomLayout(tiles.map(({ section, box }) => ({ sliceType: SLICES[section], position: [...box] })));
    this.makeSolid(false);
  }

  showSolid(): void {
    this.viewer.opts.sliceType = SLICE_TYPE.RENDER;
    this.makeSolid(true);
  }

  moveTo(place: Triple): void {
    this.viewer.scene.crosshairPos = this.viewer.vox2frac([...place]);
    this.viewer.drawScene();
  }

  /** Degrees. */
  turn(right: number, up: number): void {
    const { renderAzimuth, renderElevation } = this.viewer.scene;
    this.viewer.setRenderAzimuthElevation(renderAzimuth + right, renderElevation + up);
  }

  picture(): HTMLCanvasElement {
    this.viewer.drawScene(); // what is on a canvas of WebGL is there until the browser has shown it
    return this.canvas;
  }

  private makeSolid(solid: boolean): void {
    if (solid !== this.solid) {
      this.viewer.opts.smoothDrawing = solid ? 1 : 0; // of its surface; a pass over all voxels at each threshold
      this.viewer.setOpacity(0, solid ? GHOST : 1);
      this.viewer.refreshDrawing(false);
    }
    this.solid = solid;
    this.blend();
  }

  /** A mask in 3-D is a body: it is seen or not. */
  private blend(): void {
    this.viewer.setDrawOpacity(this.solid ? 1 : this.opacity);
  }
}

/** Outlines of `line` pixels of the screen: those of NiiVue are of one, which a sharp screen hardly shows. */
function widenOutlines(viewer: Niivue, line: number): void {
  const { gl, sliceMMShader } = viewer;
  const program = sliceMMShader?.program;
  const parts = program === undefined ? [] : (gl.getAttachedShaders(program) ?? []);
  const part = parts.find((each) => gl.getShaderParameter(each, gl.SHADER_TYPE) === gl.FRAGMENT_SHADER);
  const text = part === undefined ? null : gl.getShaderSource(part);
  if (text !== null) viewer.setCustomSliceShader(text.replace(/dFd([xy])\(texPos\)/g, `(dFd$1(texPos) * ${line}.0)`));
}

/** Of labels 0 to N, where 0 is none. */
function colourMap(colours: readonly Colour[]) {
  const all = [[0, 0, 0] as Colour, ...colours];
  const channel = (place: 0 | 1 | 2): number[] => all.map((colour) => colour[place]);
  return {
    R: channel(0),
    G: channel(1),
    B: channel(2),
    A: all.map((_, label) => (label === 0 ? 0 : 255)),
    I: all.map((_, label) => label),
    labels: all.map(String),
  };
}
