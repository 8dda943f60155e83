"""Which web pages a plan asks for, and what their settings say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from workflow.plan import Plan
from workflow.settings_files import SettingsFiles

ROOT = Path(__file__).resolve().parents[2]
PAGE = "<results>/{}/{}/export/segment.html"


def plan(**web: Any) -> Plan:
    recipes = {name: {"file": str(ROOT / f"config/recipes/{name}.yaml")} for name in ("unet", "unet3d")}
    datasets = {
        "kseg": {"source": "kseg", "recipes": ["unet"]},
        "btcv": {"source": "btcv"},
        "cvc": {"source": "cvc", "recipes": ["unet"], "tiles": {}},
        "sts": {"source": "sts", "recipes": ["unet"], "spacing": "median"},
    }
    return Plan({"recipes": recipes, "datasets": datasets, "web": web}, where="my.yaml")


def test_every_model_has_a_page_but_those_of_patches() -> None:
    expected = [PAGE.format(name, "unet") for name in ("kseg", "btcv", "cvc", "sts")]
    assert plan().web_pages() == expected
    assert plan().web_pages_of_all() == []
    assert plan(pages=True).web_pages_of_all() == expected


def test_the_settings_of_a_page_leave_out_whether_it_is_made() -> None:
    text = SettingsFiles(plan(pages=True, parity_cases=3).run).web(SimpleNamespace(dataset="kseg", recipe="unet"))
    assert yaml.safe_load(text) == {"unchecked": "refuse", "parity_cases": 3, "most_megabytes": 100.0, "webgpu": False}
