"""What pyproject.toml cannot say: a wheel also holds files of the root that the package reads (shipped_files.py)."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
FOLDERS = ("config", "workflow", "resources/splits", "resources/paper")
FILES = ("resources/datasets.yaml", "resources/weights.yaml")


class BuildWithShippedFiles(build_py):
    """Lays them below sdseg/shipped/; an editable install finds them where they are."""

    def run(self) -> None:
        super().run()
        target = Path(self.build_lib) / "sdseg/shipped"
        if self.editable_mode:
            return
        shutil.rmtree(target, ignore_errors=True)  # a file that is gone from the root does not stay
        for name in (*FOLDERS, *FILES):
            source, copy = ROOT / name, target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy(source, copy)


setup(cmdclass={"build_py": BuildWithShippedFiles})
