"""What docs/ say is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgestill.distill.config import CacheConfig, PeerConfig, SchemeConfig, StageConfig
from edgestill.recipe import load_recipe
from edgestill.train.config import AugmentConfig
from edgestill.train.losses.config import LOSS_CONFIGS, LossConfig
from edgestill.train.schedule import Schedule

PAGE = (Path(__file__).parents[1] / "docs" / "distillation.md").read_text("utf-8")


@pytest.mark.parametrize(("name", "config"), LOSS_CONFIGS.items())
def test_the_table_of_losses_has_every_setting(name: str, config: type[LossConfig]) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
    settings = {field.name for field in fields(config)} - {"weight", "student", "teacher"}
    assert {setting for setting in settings if f"`{setting}`" not in row} == set()


@pytest.mark.parametrize(
    "config", [SchemeConfig, StageConfig, AugmentConfig, CacheConfig, PeerConfig]
)
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


@pytest.mark.parametrize(
    "text", re.findall(r"```\n(distill:\n(?:(?!```|stages:).)*)```", PAGE, re.DOTALL)
)
def test_its_recipes_without_a_teacher_are_some(tmp_path: Path, text: str) -> None:
    (tmp_path / "nets.py").write_text("def student(): ...\ndef wider(): ...\n", "utf-8")
    recipe = {
        "name": "docs",
        "data": {"source": "sklearn.digits"},
        "student": {"model": "nets.py:student"},
        **yaml.safe_load(text),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    assert load_recipe(str(tmp_path / "recipe.yaml")).teacher is None
