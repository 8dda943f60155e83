"""docs/architecture.md names what is there: every package, in the order of the rule, and no module that is not."""

from __future__ import annotations

import re
from pathlib import Path

from tests.test_layers import LAST, MODULES, ORDER, STAGES, package_of

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "architecture.md").read_text("utf-8")
CODE = re.compile(r"`([^`]+)`")


def rows(heading: str) -> list[list[str]]:
    """Cells of the table whose first column has this heading."""
    _, _, after = TEXT.partition(f"| {heading} |")
    assert after, f"no table '{heading}'"
    lines = after.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_package_in_its_order() -> None:
    named = [CODE.findall(cells[0])[0] for cells in rows("package of `sdseg/`")]
    assert tuple(named[: len(ORDER)]) == ORDER
    assert set(named[len(ORDER) : -1]) == STAGES
    assert named[-1] == LAST
    assert set(named) == {package_of(name) for name in MODULES} - {"", "__main__"}


def test_every_module_named_is_there() -> None:
    named = {
        f"{CODE.findall(cells[0])[0]}.{module.replace('/', '.')}"
        for cells in rows("package of `sdseg/`")
        for module in CODE.findall(cells[2])
    }
    assert len(named) > 80
    assert named - set(MODULES) == set()


def test_every_room_and_folder_named_is_there() -> None:
    rooms = {room for cells in rows("the line knows …") for room in CODE.findall(cells[1])}
    known = {name.replace(".", "/") for name in MODULES}
    missing = {room for room in rooms if room.rstrip("/") not in known and not (ROOT / room).is_dir()}
    assert missing == set()
    folders = {CODE.findall(cells[0])[0] for cells in rows("folder")}
    assert {folder for folder in folders if not (ROOT / folder).is_dir()} == set()


def test_every_file_linked_is_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).is_file()] == []


def test_every_file_named_in_the_documents_is_there() -> None:
    file = re.compile(
        r"\b(?:benchmarks|sdseg|tests|tools|workflow)/[\w/.-]+\.(?:py|smk)\b"
    )  # YAML files may be the reader's own
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "config" / "README.md", *ROOT.glob("docs/*.md")]
    named = {(path.name, name) for path in documents for name in file.findall(path.read_text("utf-8"))}
    assert len(named) > 10
    assert {(page, name) for page, name in named if not (ROOT / name).is_file()} == set()
