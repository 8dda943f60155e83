"""The type stub of TensorRT says what the bindings say; and the type checker finds calls that 11 no longer has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUB = ROOT / "typings/tensorrt/__init__.pyi"
SIGNATURES = Path(__file__).parent / "tensorrt_signatures.txt"


def members(body: list[ast.stmt], prefix: str = "") -> dict[str, ast.stmt]:
    """Every member of every class, by its dotted name."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found |= members(node.body, f"{prefix}{node.name}.")
        elif not prefix:
            continue
        elif isinstance(node, ast.FunctionDef):
            found[f"{prefix}{node.name}"] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[f"{prefix}{node.target.id}"] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[f"{prefix}{node.targets[0].id}"] = node
    return found


def declared() -> dict[str, str]:
    """Lines of the summary by name: what follows it, '' for attributes."""
    lines = [line for line in SIGNATURES.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    matches = [re.fullmatch(r"([\w.]+)(.*)", line) for line in lines]
    return {match[1]: match[2] for match in matches if match is not None}


STATED = members(ast.parse(STUB.read_text("utf-8")).body)


def test_the_stub_has_what_the_summary_has() -> None:
    assert set(STATED) == set(declared())


@pytest.mark.parametrize("name", sorted(name for name, rest in declared().items() if rest))
def test_signatures_agree(name: str) -> None:
    node, rest = STATED[name], declared()[name]
    assert isinstance(node, ast.FunctionDef)
    inner, _, result = rest[1:].rpartition(")")
    parameters = dict(part.partition(": ")[::2] for part in re.split(r", (?=\w+(?:: |$|,))", inner))
    assert [argument.arg for argument in node.args.args] == list(parameters)
    for argument in node.args.args[1:]:
        kind = parameters[argument.arg].partition(" = ")[0].rpartition(".")[2] if parameters[argument.arg] else ""
        if kind and argument.annotation is not None:
            stated = ast.unparse(argument.annotation)
            # What takes Dims or a tuple is given a sequence of numbers.
            allowed = {kind, parameters[argument.arg], *({"Sequence[int]"} if kind == "Dims" else ())}
            assert stated in allowed or stated.startswith(f"{kind}["), (name, argument.arg)
    if result.startswith(" -> "):
        stated = ast.unparse(node.returns) if node.returns is not None else "None"
        assert stated.removesuffix(" | None") == result.removeprefix(" -> ").rpartition("::")[2]


def test_only_what_is_called_is_stated() -> None:
    code = "".join(path.read_text("utf-8") for path in (ROOT / "sdseg").glob("*/tensorrt*.py"))
    names = {name.rpartition(".")[2] for name in STATED} - {"__init__", "__iter__", "STATIC"}
    assert {name for name in names if not re.search(rf"\b{name}\b", code)} == set()


def test_the_checker_finds_what_11_removed(tmp_path: Path) -> None:
    """And nothing in the same lines as 11 wants them."""
    from mypy import api

    file = tmp_path / "old.py"
    file.write_text(
        "import tensorrt as trt\n"
        "def build(builder: trt.Builder, config: trt.IBuilderConfig) -> None:\n"
        "    config.set_flag(trt.BuilderFlag.FP16)\n"
        "    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))\n"
        "    engine = builder.build_engine(network, config)\n"
        "    plan = builder.build_serialized_network(network, config)\n"
        "    trt.Runtime(trt.ILogger()).deserialize_cuda_engine(plan)\n"
        "    config.clear_flag(trt.BuilderFlag.TF32)\n",
        encoding="utf-8",
    )
    settings = tmp_path / "mypy.ini"
    settings.write_text(f"[mypy]\nmypy_path = {STUB.parent.parent}\nstrict = True\n", encoding="utf-8")
    shown, _, _ = api.run(["--config-file", str(settings), "--cache-dir", str(tmp_path / "cache"), str(file)])
    wrong = [int(match[1]) for match in re.finditer(r"old\.py:(\d+): error", shown)]
    assert wrong == [3, 4, 5, 7], shown
