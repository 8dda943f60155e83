"""What a processor can do, by the flags that Linux lists."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from sdseg.core.processor import adds_up_bytes, bf16_instructions, computes_in_bf16


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("fpu avx2 avx512f", None),
        ("fpu avx512f avx512_bf16", "AVX512-BF16"),
        ("fpu avx512f avx512_bf16 amx_bf16 amx_int8", "AMX"),
        ("fpu amx_bf16", "AMX"),
        ("fpu amx_int8 my_avx512_bf16", None),
    ],
)
def test_the_fastest_it_has(flags: str, name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"processor\t: 0\nflags\t\t: {flags}\n")
    assert (bf16_instructions(), computes_in_bf16()) == (name, name is not None)


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "fpu avx2 fma", False),
        ("x86_64", "fpu avx2 avx512f avx512bw", False),
        ("x86_64", "fpu avx512f avx512_vnni", True),
        ("AMD64", "fpu avx2 avx_vnni", True),
        ("aarch64", "fp asimd asimddp", True),
    ],
)
def test_sums_of_bytes(machine: str, flags: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"processor\t: 0\nflags\t\t: {flags}\n")
    assert adds_up_bytes() is expected


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")

    def absent(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    assert (bf16_instructions(), computes_in_bf16(), adds_up_bytes()) == (None, False, False)
