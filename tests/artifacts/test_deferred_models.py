"""Records and settings are compiled when the first of their kind is read: each can be, by several threads at once."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from pydantic import BaseModel, ValidationError

import sdseg.artifacts
import sdseg.config

THREADS = 4


def models() -> list[type[BaseModel]]:
    """Of the packages that hold next to nothing else."""
    for package in (sdseg.artifacts, sdseg.config):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found = dict.fromkeys(below(BaseModel))
    return [each for each in found if each.__module__.startswith(("sdseg.artifacts.", "sdseg.config."))]


def below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in model.__subclasses__():
        yield each
        yield from below(each)


def test_each_can_be_read_first_by_several_threads_at_once() -> None:
    every, together = models(), Barrier(THREADS)

    def reads(model: type[BaseModel]) -> bool:
        together.wait()
        try:
            model.model_validate("no mapping")
        except ValidationError as error:
            return "dictionary" in str(error)
        return False

    assert len(every) > 90
    with ThreadPoolExecutor(THREADS) as pool:
        for model in every:
            unread = type(model.__name__, (model,), {"__module__": __name__})  # whatever tests have read before
            assert not unread.__pydantic_complete__, model
            assert all(pool.map(reads, [unread] * THREADS)), model
