"""What docs/ say is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgestill.departures.parity import allowed_error
from edgestill.departures.search import first_outlying
from edgestill.distill.config import CacheConfig
from edgestill.metrics import METRICS
from edgestill.recipe import load_recipe
from edgestill.targets.options import OpenVinoOptions
from edgestill.train.config import AugmentConfig, TrainConfig
from edgestill.train.losses.config import LOSS_CONFIGS, LossConfig
from edgestill.train.schedule import Schedule
from edgestill.verify.results import MOST_FLIPS

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "distillation.md").read_text("utf-8")
ACCURACY = (DOCS / "accuracy.md").read_text("utf-8")


@pytest.mark.parametrize(("name", "config"), LOSS_CONFIGS.items())
def test_the_table_of_losses_has_every_setting(name: str, config: type[LossConfig]) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
    settings = {field.name for field in fields(config)} - {"weight", "student", "teacher"}
    assert {setting for setting in settings if f"`{setting}`" not in row} == set()


@pytest.mark.parametrize("config", [TrainConfig, AugmentConfig, CacheConfig])
def test_every_key_of_a_schedule_is_explained(config: type[Any]) -> None:
    assert [field.name for field in fields(config) if f"`{field.name}" not in PAGE] == []


def test_every_key_of_a_changing_value_is_shown() -> None:
    assert [field.name for field in fields(Schedule) if f"{field.name}: " not in PAGE] == []


def test_its_recipe_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "nets.py").write_text("def net(): ...\n", "utf-8")
    recipe = {
        "name": "docs",
        "data": {"source": "sklearn.digits"},
        "teacher": {"model": "nets.py:net", "pretrained": True},
        "student": {"model": "nets.py:net"},
        **yaml.safe_load(text),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    loaded = load_recipe(str(tmp_path / "recipe.yaml"))
    assert loaded.distill is not None
    assert len(loaded.distill.losses) == 4


@pytest.mark.parametrize("name", METRICS)
def test_the_table_of_metrics_says_what_each_is_taken_over(name: str) -> None:
    rows = [row for row in ACCURACY.splitlines() if row.startswith("| `") and f"`{name}`" in row]
    (row,) = rows
    assert ("| each sample" in row) == METRICS[name].per_sample
    assert ("| the set |" in row) != METRICS[name].per_sample


def test_the_rule_of_a_departure_is_the_one_that_is_applied() -> None:
    """With layers that lie on either side of each number that the page gives."""
    assert "`min(max(1e-4, 10 m), L / 2)`" in ACCURACY
    floats = [0.0] * 20
    assert first_outlying([*floats, 0.9e-4, *floats, 1.0]) == (41, True)
    assert first_outlying([*floats, 1.1e-4, *floats, 1.0]) == (20, True)
    int8 = [0.01] * 20
    assert first_outlying([*int8, 0.099, *int8, 0.9]) == (41, True)
    assert first_outlying([*int8, 0.101, *int8, 0.9]) == (20, True)
    assert "less than three times m" in ACCURACY
    assert first_outlying([*int8, 0.029]) == (20, False)
    assert first_outlying([*int8, 0.031]) == (20, True)
    for precision, allowed in (("fp32", "1e-3"), ("fp16", "1e-2"), ("int8", "1e-2")):
        assert allowed_error(precision, None) == float(allowed)
    assert allowed_error("fp32", OpenVinoOptions("bf16")) == 3e-2
    assert "(1e-3 of the answers in fp32, 1e-2 in fp16 and int8, 3e-2 in bf16" in ACCURACY
    assert f"the first {MOST_FLIPS} lost samples" in ACCURACY


def test_its_figures_are_filled_in() -> None:
    assert "@@" not in ACCURACY
