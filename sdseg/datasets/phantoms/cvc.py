"""Phantom of CVC-ClinicDB: PNG frames of video sequences, numbered through, a polyp in every frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sdseg.datasets.phantoms.canvas import blur
from sdseg.datasets.phantoms.endoscopy import Frame, View, draw_scene, photograph
from sdseg.datasets.phantoms.files import PhantomCase, share_out, write_picture

__all__ = ["write"]

_HEIGHT, _WIDTH = 144, 192
_FRAME = Frame(_HEIGHT, _WIDTH, margin=1.9)
_SEQUENCES, _FRAMES = 29, 8
_DATASET = 1  # part of every case's seed


def write(folder: Path, seed: int, scale: float) -> list[PhantomCase]:
    """Write the frames and `metadata.csv`; one case per frame, grouped by sequence."""
    sequences = max(6, round(_SEQUENCES * scale))
    frames = max(2, round(_FRAMES * min(scale, 1)))
    cases, table = [], ["frame_id,sequence_id,png_image_path,png_mask_path"]
    for sequence, split in enumerate(share_out(sequences, 0.1, 0.17), start=1):
        for name in _write_sequence(folder, seed, sequence, frames):
            cases.append(PhantomCase(str(name), str(sequence), split))
            table.append(f"{name},{sequence},PNG/Original/{name}.png,PNG/Ground Truth/{name}.png")
    (folder / "metadata.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    return cases


def _write_sequence(folder: Path, seed: int, sequence: int, frames: int) -> range:
    """Draw one scene and photograph it `frames` times while camera and lamp drift; the frames' numbers."""
    rng = np.random.default_rng([seed, _DATASET, sequence])
    scene = draw_scene(rng, _FRAME, rng.uniform(0.2, 0.34))
    start, drift = rng.uniform((-0.16, -0.3), (0.16, 0.3)), rng.uniform(-0.014, 0.014, 2)
    lamp, power, warmth = rng.uniform((-0.3, -0.4), (0.3, 0.4)), rng.uniform(1.3, 2.4), rng.uniform(0.92, 1.1)
    turn, spin, grow = rng.uniform(0, 360), rng.uniform(-2, 2), rng.uniform(-0.012, 0.012)
    names = range((sequence - 1) * frames + 1, sequence * frames + 1)
    hull = blur(_frame(rng.uniform(0.08, 0.2)), 0.7)[:, :, None]
    for index, name in enumerate(names):
        shake = rng.normal(0, 0.012, 2)
        shift = np.clip(start + drift * index + shake, (-0.22, -0.4), (0.22, 0.4))
        view = View(
            shift=(float(shift[0]), float(shift[1])),
            turn=turn + spin * index,
            zoom=1 + grow * index,
            lamp=(float(lamp[0] + shake[0]), float(lamp[1] + shake[1])),
            power=power * float(rng.uniform(0.92, 1.08)),
            warmth=warmth,
        )
        picture, mask = photograph(rng, scene, view, _FRAME)
        visible = hull[:, :, 0] > 0.5
        write_picture(folder / "PNG" / "Original" / f"{name}.png", (picture * hull).astype(np.uint8))
        write_picture(folder / "PNG" / "Ground Truth" / f"{name}.png", ((mask & visible) * 255).astype(np.uint8))
    return names


def _frame(cut: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The octagon an endoscope's processor leaves open, [H,W] 0 or 1; `cut` is the corners' share of the height."""
    edge, corner = 4, round(cut * _HEIGHT)
    right, bottom = _WIDTH - edge, _HEIGHT - edge
    points = [
        (edge + corner, edge), (right - corner, edge), (right, edge + corner), (right, bottom - corner),
        (right - corner, bottom), (edge + corner, bottom), (edge, bottom - corner), (edge, edge + corner),
    ]  # fmt: skip
    canvas = np.zeros((_HEIGHT, _WIDTH), dtype=np.float32)
    cv2.fillPoly(canvas, [np.array(points, dtype=np.int32)], (1.0,))
    return canvas
