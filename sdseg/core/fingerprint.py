"""What code a stage runs, as checksums that know changed lines from changed words. The standard library alone.

Two states of the source have one fingerprint where no line that computes differs: comments, docstrings, layout and
the files' times do not count. Modules are followed through their imports, those inside functions included.

Reading 300 modules takes half a second, at every plan and in every job; so what was read is kept beside the compiled
modules, by the checksums of the texts.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
from functools import cache
from pathlib import Path

__all__ = ["code_of", "fingerprint"]

PACKAGE = Path(__file__).resolve().parent.parent
# Messages, locks and records change no result, and what is chosen reaches a stage through its settings file alone.
# Imports are not followed through them: the whole configuration is no part of a training.
NO_CAUSE = frozenset(
    {
        "sdseg",
        *(f"sdseg.config.{name}" for name in ("dataset", "export", "folders", "run", "seeds_and_folds", "studies")),
        *(f"sdseg.core.{name}" for name in ("errors", "extras", "fingerprint", "leftovers", "locks")),
        *(f"sdseg.core.{name}" for name in ("provenance", "settings", "signals", "yaml_json")),
    }
)
# Fields, their defaults and their validators arrive by settings files too; what else these modules do is code.
OF_SETTINGS = frozenset(
    f"sdseg.config.{name}"
    for name in (
        *("codec", "direct_network", "end_to_end_network", "inference", "network", "noise_process"),
        *("normalisation", "patches", "recipe", "shape", "tiles", "trained_models", "training"),
    )
)


@cache
def fingerprint(stage: str, package: Path = PACKAGE) -> str:
    """SHA-256 of the code that the module `sdseg.<stage>` runs: equal as long as no line that computes was changed."""
    return _digest(*(f"{name} {digest}" for name, digest in code_of(stage, package).items()))


@cache
def code_of(stage: str, package: Path = PACKAGE) -> dict[str, str]:
    """SHA-256 of every module, by name, that `sdseg.<stage>` imports; and of the other files in their packages."""
    modules: dict[str, tuple[str, frozenset[str]]] = {}
    waiting = [f"sdseg.{stage}"]
    while waiting:
        name = waiting.pop()
        if name in modules or name in NO_CAUSE or (path := _file_of(name, package)) is None:
            continue
        modules[name] = _read(name, path)
        waiting += [part for each in (name, *modules[name][1]) for part in _with_parents(each)]
    if f"sdseg.{stage}" not in modules:
        raise ValueError(f"no module sdseg.{stage} in {package}")
    _keep()
    digests = {name: digest for name, (digest, _) in modules.items()}
    for name in modules:  # templates and style sheets lie in the package that fills them in
        path = _file_of(name, package)
        if path is not None and path.name == "__init__.py":
            digests |= _others(path, package)
    return dict(sorted(digests.items()))


@cache  # stages share most of their modules
def _read(name: str, path: Path) -> tuple[str, frozenset[str]]:
    """Checksum of a module's code, and the modules and names of this package that it imports."""
    text, of_settings = path.read_bytes(), name in OF_SETTINGS
    key = f"{hashlib.sha256(text).hexdigest()} {of_settings:d}"
    if key in _kept():
        digest, *names = _kept()[key]
        return digest, frozenset(names)
    words: list[str] = []
    imports: set[str] = set()
    _walk(ast.parse(text), words, imports, of_settings=of_settings)
    _NEW[key] = [_digest("\0".join(words)), *sorted(imports)]
    return _NEW[key][0], frozenset(imports)


_NEW: dict[str, list[str]] = {}  # read by this process, and not kept yet
KEPT, MOST = PACKAGE / "__pycache__" / "fingerprints.json", 2000


@cache
def _kept() -> dict[str, list[str]]:
    """By text, the checksum of its code and what it imports, as this module read it before; nothing where in doubt."""
    try:
        state = json.loads(KEPT.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    known = isinstance(state, dict) and state.get("reader") == _reader() and isinstance(state.get("texts"), dict)
    return state["texts"] if known else {}


@cache
def _reader() -> str:
    return _digest(Path(__file__).read_bytes())


def _keep() -> None:
    """Write what is new, where that is possible: an installation may be read-only."""
    if not _NEW:
        return
    texts = _kept() if len(_kept()) < MOST else {}
    texts |= _NEW
    _NEW.clear()
    part = KEPT.with_name(f"{KEPT.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        try:
            part.write_text(json.dumps({"reader": _reader(), "texts": texts}), "utf-8")
            part.replace(KEPT)
        finally:
            part.unlink(missing_ok=True)


def _walk(node: ast.AST, words: list[str], imports: set[str], *, of_settings: bool) -> None:
    """Spell out a syntax tree. What is empty is left out: newer versions of Python know more fields than older ones."""
    if isinstance(node, ast.ImportFrom):
        imports |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    elif isinstance(node, ast.Import):
        imports |= {alias.name for alias in node.names}
    words.append(type(node).__name__)
    for field in node._fields:
        value = getattr(node, field, None)
        if value is None or value == [] or field == "kind":  # `kind`: the u of u"…"
            continue
        words.append(field)
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, ast.AST):
                words.append(repr(each))
            elif not each._fields:  # an operator or the like: half of all parts
                words.append(type(each).__name__)
            elif _counts(each, node, of_settings=of_settings):
                _walk(each, words, imports, of_settings=of_settings)
        words.append(";")


def _counts(node: ast.AST, parent: ast.AST, *, of_settings: bool) -> bool:
    """False for a part that computes nothing: a docstring, what is for type checkers, a field of settings."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return False
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return False
    if of_settings and isinstance(parent, ast.ClassDef):
        return not (isinstance(node, ast.AnnAssign) or _is_validator(node))
    return True


def _is_validator(node: ast.AST) -> bool:
    if not isinstance(node, ast.FunctionDef):
        return False
    called = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
    return any(isinstance(each, ast.Name) and each.id.endswith("_validator") for each in called)


@cache
def _file_of(name: str, package: Path) -> Path | None:
    """The file of a module of this package, None for anything else."""
    first, *rest = name.split(".")
    path = package.joinpath(*rest)
    choices = (path / "__init__.py", path.with_suffix(".py")) if first == "sdseg" else ()
    return next((choice for choice in choices if choice.is_file()), None)


def _with_parents(name: str) -> list[str]:
    """A module and the packages it lies in, which Python runs first."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)] if parts[0] == "sdseg" else []


@cache
def _others(init: Path, package: Path) -> dict[str, str]:
    """SHA-256 of the files of a package that are no modules, by their paths within `package`."""
    return {
        path.relative_to(package).as_posix(): _digest(path.read_bytes())
        for path in init.parent.rglob("*")
        if path.suffix != ".py"
        and not path.name.startswith(".")
        and "__pycache__" not in path.parts  # half-written ones of other processes too
        and path.is_file()
    }


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update((part.encode() if isinstance(part, str) else part) + b"\n")
    return digest.hexdigest()
