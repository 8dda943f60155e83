"""Words of the command line that mean nothing; archives and checkpoints that strangers made."""

from __future__ import annotations

import io
import pickle
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.bad_inputs.case import LAYOUT, Bad, Ready, noise, write_yaml
from sdseg.cli import argument_types
from sdseg.cli.commands import HANDLERS
from sdseg.cli.parser import build_parser

__all__ = ["archives", "checkpoints", "words"]

ROOT = Path(__file__).resolve().parent.parent.parent


def words(ready: Ready) -> Iterator[Bad]:
    """Every option of every verb: without a value, with one of another type, beyond its choices; and what is needed."""
    yield Bad("no verb", [], ("VERB",))
    yield Bad("an unknown verb", ["segment"], ("segment",))
    (verbs,) = [action.choices for action in build_parser(HANDLERS)._actions if action.dest == "verb"]
    for verb, parser in dict(verbs or {}).items():
        given = [[verb, *_required(parser)]]
        yield Bad(f"{verb}: an unknown option", [*given[0], "--no-such-option"], ("--no-such-option", "required"))
        for action in parser._actions:
            if action.dest in ("help", "verbose") or not action.option_strings:
                continue
            option = action.option_strings[-1]
            if action.required:
                yield Bad(f"{verb} without {option}", [verb], (option, "required"))
            if action.nargs != 0:
                yield Bad(f"{verb} {option} without a value", [*given[0], option], (option,))
            if action.choices:
                yield Bad(f"{verb} {option} nonsense", [*given[0], option, "nonsense"], (option,))
            elif getattr(action.type, "__module__", "") == argument_types.__name__:
                for value in ("",) if action.type is argument_types.path else ("x", "", "1e", "1,5x", "-1", "nan"):
                    yield Bad(
                        f"{verb} {option} {value!r}", [*given[0], f"{option}={value}"], (option, option.strip("-"))
                    )
    outside = ready.scratch / "out" / "o"
    evaluate = ["evaluate", "--prepared", ready.store, "--model", ready.rgb, "--output", outside]
    export = ["export", "--prepared", ready.store, "--model", ready.model, "--output", outside]
    train = ["train", "--prepared", ready.store, "--recipe", ROOT / "config/recipes/unet.yaml", "--output", outside]
    phantoms = ["phantoms", "--source", "kseg", "--output", outside]
    for given_words, about in (
        ([*evaluate, "--batch", "0"], "batch"),
        ([*evaluate, "--batch", "-3"], "batch"),
        ([*evaluate, "--nsd-tolerance", "-1"], "nsd-tolerance"),
        ([*evaluate, "--nsd-tolerance", "nan"], "nsd-tolerance"),
        ([*evaluate, "--limit", "0", "--sweep"], "limit"),
        ([*evaluate, "--stability", "1"], "stability"),
        ([*evaluate, "--sweep", "--steps", "0"], "steps"),
        ([*evaluate, "--sweep", "--steps", "1,x"], "steps"),
        ([*evaluate, "--name", "x"], "--name"),
        ([*evaluate, "--device", "cuda"], "cuda"),
        ([*export, "--opset", "1"], "opset"),
        ([*export, "--opset", "99"], "opset"),
        ([*export, "--parity-cases", "0"], "parity"),
        ([*export, "--precisions", "fp8"], "fp8"),
        ([*export, "--precisions", ""], "precisions"),
        ([*export, "--providers", "abacus"], "abacus"),
        ([*export, "--tolerance", "int8"], "tolerance"),
        ([*export, "--tolerance", "int8.size=1"], "size"),
        ([*export, "--tolerance", "int8.max_abs_difference=x"], "max_abs_difference"),
        ([*export, "--max-abs-difference", "-1"], "max-abs-difference"),
        ([*export, "--max-abs-difference", "nan"], "max-abs-difference"),
        ([*export, "--calibration-images", "0"], "calibration"),
        ([*export, "--to", "tensorrt"], "tensorrt"),
        ([*export, "--to", "triton"], "--prepared"),
        ([*export, "--level", "3"], "--level"),
        ([*train, "--set", "training"], "training"),
        ([*train, "--set", "training.steps=x"], "steps"),
        ([*train, "--set", "training.stepps=3"], "stepps"),
        ([*train, "--set", "=3"], "=3"),
        ([*train, "--set", "training.batch=1000000000000"], "batch"),
        ([*train, "--device", "cuda"], "cuda"),
        ([*train, "--codec", ready.scratch / "none"], "--codec"),
        ([*train, "--start-from", ready.scratch / "none"], "none"),
        ([*phantoms, "--seed", "-1"], "seed"),
        ([*phantoms, "--seed", "9" * 40], "seed"),
        ([*phantoms, "--scale", "0"], "scale"),
        ([*phantoms, "--scale", "-1"], "scale"),
        ([*phantoms, "--scale", "nan"], "scale"),
        ([*phantoms, "--scale", "inf"], "scale"),
        (["phantoms", "--source", "lungs", "--output", outside], "lungs"),
        (["report", "--results", ready.scratch / "none"], "none"),
        (["report", "--results", ready.split], "split.csv"),
        (["report", "--compare", ready.scratch / "none", ready.scratch], "none"),
        (["doctor", "--config", ready.scratch / "none.yaml"], "none.yaml"),
        (["download", "--source", "lungs", "--raw", outside, "--output", outside / "r.json"], "lungs"),
        (["download", "--weights", "nothing"], "nothing"),
        (["download", "--source", "cvc", "--raw", ready.scratch / "none", "--output", outside / "r.json"], "none"),
        (["download", "--source", "cvc"], "--raw"),
    ):
        yield Bad(" ".join(map(str, given_words[:1] + given_words[-2:]))[:80], given_words, (about,), made=(outside,))


def _required(parser: Any) -> list[str]:
    """A value for all that a verb requires: places of which none exists, and numbers."""
    values: list[str] = []
    for action in parser._actions:
        if action.required and action.option_strings:
            number = getattr(action.type, "__module__", "") == argument_types.__name__ and (
                action.type is not argument_types.path
            )
            values += [action.option_strings[-1], "3" if number else "/nowhere/at all"]
        elif action.required:
            values.append("/nowhere/at all")
    for group in parser._mutually_exclusive_groups:
        if group.required:
            values += [group._group_actions[0].option_strings[-1], "/nowhere/at all"]
    return values


def archives(ready: Ready) -> Iterator[Bad]:
    """Archives of Kvasir-SEG in the manual folder, made to do harm or damaged."""
    manual, raw = ready.scratch / "manual" / "kseg", ready.scratch / "unpacked"
    manual.mkdir(parents=True)
    path = manual / "kvasir-seg.zip"
    registry = ready.scratch / "registry.yaml"
    entry = yaml.safe_load((ROOT / "resources" / "datasets.yaml").read_text("utf-8"))["kseg"]
    entry |= {"access": "manual", "files": [{"name": path.name}]}
    write_yaml(registry, {"kseg": entry})
    given = [
        "download",
        "--source",
        "kseg",
        "--raw",
        raw,
        "--output",
        ready.scratch / "raw.json",
        "--registry",
        registry,
    ]
    given += ["--manual", manual.parent, "--downloads", ready.scratch / "downloads"]
    good = [
        (f"Kvasir-SEG/{kind}/a.jpg", noise(900, seed=seed).tobytes()) for seed, kind in enumerate(("images", "masks"))
    ]
    deep = "/".join(["d"] * 2000)
    made: dict[str, bytes] = {
        "empty": b"",
        "text": b"no archive",
        "html": b"<!DOCTYPE html><title>Sign in</title>",
        "zeros": bytes(5000),
        "cut": _zip(good)[:-30],
        "cut at half": _zip(good)[:900],
        "end of directory damaged": _flipped(_zip(good), -22),
        "place of the directory damaged": _flipped(_zip(good), -5),
        "size of the directory damaged": _flipped(_zip(good), -9),
        "directory damaged": _flipped(_zip(good), _zip(good).index(b"PK\x01\x02")),
        "content damaged": _flipped(_zip([("Kvasir-SEG/images/a.jpg", bytes(range(256)) * 40)]), 100),
        "outside": _zip([*good, ("../../outside.jpg", b"x")]),
        "absolute": _zip([*good, ("/tmp/outside.jpg", b"x")]),
        "backslashes": _zip([*good, ("..\\..\\outside.jpg", b"x")]),
        "a drive": _zip([*good, ("C:/outside.jpg", b"x")]),
        "a name twice": _zip([*good, good[0]]),
        "names that meet": _zip([*good, ("Kvasir-SEG/IMAGES/A.JPG", b"x")]),
        "a file that is a folder": _zip([*good, ("Kvasir-SEG/images", b"x")]),
        "a link": _zip([*good, ("Kvasir-SEG/images/l", b"/etc/passwd")], mode=stat.S_IFLNK | 0o777),
        "2000 nested folders": _zip([*good, (f"{deep}/a.jpg", b"x")]),
        "a name of 300 letters": _zip([*good, ("x" * 300 + ".jpg", b"x")]),
        "a control character": _zip([*good, ("Kvasir-SEG/images/a\x01.jpg", b"x")]),
        "a bomb": _zip([*good, ("Kvasir-SEG/images/b.jpg", bytes(300 << 20))]),
        "tar outside": _tar([*good, ("../../outside.jpg", b"x")]),
        "tar of a device": _tar(good, type=tarfile.CHRTYPE),
        "tar of a link": _tar(good, type=tarfile.SYMTYPE, linkname="/etc"),
        "tar cut": _tar(good)[:2300],
        "rar's head": b"Rar!\x1a\x07\x01\x00" + bytes(40),
        "7z's head": b"7z\xbc\xaf\x27\x1c" + bytes(40),
        "another dataset": _zip([("photos/a.jpg", b"x")]),
    }
    for name, content in made.items():
        path.write_bytes(content)
        yield Bad(
            name,
            given,
            (path.name, "Kvasir-SEG/"),
            made=(raw, ready.scratch / "raw.json", ready.scratch / "downloads"),
        )


def checkpoints(ready: Ready) -> Iterator[Bad]:
    """Files for `convert`."""
    codec = write_yaml(ready.scratch / "codec.yaml", {**LAYOUT, "weights": "anywhere"})
    path = ready.scratch / "foreign.ckpt"

    class Harm:
        def __reduce__(self) -> Any:
            return (exec, ("raise SystemExit('run')",))

    def saved(value: Any) -> bytes:
        stream = io.BytesIO()
        torch.save(value, stream)
        return stream.getvalue()

    contents: dict[str, bytes] = {
        "empty": b"",
        "text": b"weights",
        "zeros": bytes(5000),
        "cut": saved({"state_dict": {"a": torch.zeros(99)}})[:-90],
        "a pickle that runs": pickle.dumps(Harm()),
        "a checkpoint that runs": saved({"state_dict": Harm()}),
        "no weights": saved({}),
        "a list": saved([torch.zeros(1)]),
        "a tensor": saved(torch.zeros(1)),
        "other names": saved({"state_dict": {"a": torch.zeros(99)}}),
        "numbers as names": saved({"state_dict": {1: torch.zeros(9)}}),
        "words as weights": saved({"state_dict": {"a": "b"}}),
        "a zip": _zip([("a", b"b")]),
    }
    for origin in ("official", "ldm", "kl-f8"):
        for name, content in contents.items():
            path.write_bytes(content)
            given = [
                "convert",
                "--from",
                origin,
                "--weights",
                path,
                "--codec",
                codec,
                "--output",
                ready.scratch / "out" / "m",
            ]
            given += (
                [] if origin == "kl-f8" else ["--recipe", ROOT / "config/recipes/sdseg-paper.yaml", "--source", "cvc"]
            )
            yield Bad(f"{origin}: {name}", given, (path.name,))
        yield Bad(f"{origin}: missing", [*given[:4], ready.scratch / "none.ckpt", *given[5:]], ("none.ckpt",))


def _zip(members: list[tuple[str, bytes]], *, mode: int = 0) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # a name twice
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type, info.external_attr = name, zipfile.ZIP_DEFLATED, mode << 16
            archive.writestr(info, content)
    return stream.getvalue()


def _tar(members: list[tuple[str, bytes]], **change: Any) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in change.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _flipped(content: bytes, place: int) -> bytes:
    spoilt = bytearray(content)
    spoilt[place] ^= 0xFF
    return bytes(spoilt)
