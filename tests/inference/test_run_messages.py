"""What a run says at its end."""

from __future__ import annotations

from sdseg.inference.run_messages import grouped


def test_what_many_share_is_said_once() -> None:
    told = [("a", "cut"), *((f"{number}", "a volume") for number in range(50)), ("b", "cut")]
    assert list(grouped(told)) == ["a: cut", "b: cut", "50 inputs (0, 1, 2, …): a volume"]
    assert list(grouped(told[:4])) == ["a: cut", "0: a volume", "1: a volume", "2: a volume"]
