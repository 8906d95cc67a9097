"""What docs/ say is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from edgestill.distill.config import CacheConfig, PeerConfig, SchemeConfig, StageConfig
from edgestill.models.resolve import load_callable
from edgestill.recipe import Recipe, load_recipe
from edgestill.train.config import AugmentConfig
from edgestill.train.ensemble import WEIGHINGS
from edgestill.train.function_teacher import FunctionTeacher
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


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def loaded(folder: Path, text: str, **beside: Any) -> Recipe:
    """The recipe that these lines of the page are a part of."""
    names = ("teacher", "wide", "middle", "student", "wider", "net")
    (folder / "nets.py").write_text("".join(f"def {name}(): ...\n" for name in names), "utf-8")
    (folder / "remote.py").write_text("def answers(batch): ...\n", "utf-8")
    for name in ("teacher.safetensors", "teacher.onnx", "old.onnx", "vocabulary.json"):
        (folder / name).touch()
    recipe = {
        "name": "docs",
        "data": {"source": "sklearn.digits"},
        "student": {"model": "nets.py:student"},
        "distill": {},
        **beside,
        **yaml.safe_load(text),
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    return load_recipe(str(folder / "recipe.yaml"))


TEACHER = {"model": "nets.py:teacher", "pretrained": True}


@pytest.mark.parametrize(
    "title",
    [
        *("Several teachers", "A teacher that is an ONNX file", "A teacher that is a function"),
        *("Assistants", "Stages"),
    ],
)
def test_its_schemes_with_a_teacher_are_those_of_a_recipe(title: str, tmp_path: Path) -> None:
    (text,) = re.findall(r"```\n(.*?)```", section(title), re.DOTALL)
    assert loaded(tmp_path, text, teacher=TEACHER).teacher is not None


@pytest.mark.parametrize(
    "text",
    [
        text
        for title in ("A student that teaches itself", "Mutual learning")
        for text in re.findall(r"```\n(.*?)```", section(title), re.DOTALL)
    ],
)
def test_its_schemes_without_a_teacher_are_those_of_a_recipe(text: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, text).teacher is None


def test_its_table_of_schemes_leads_to_sections() -> None:
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    sections = {title.lower().replace("'", "").replace(" ", "-") for title in titles}
    links = re.findall(r"\]\(#(.*?)\)", section("Schemes"))
    assert len(links) >= 10
    assert set(links) <= sections


def test_its_function_answers(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 17, (40, 1, 8, 8), np.uint8)
    classifier = LogisticRegression().fit(images.reshape(40, -1) / 16, np.arange(40) % 3)
    (code,) = re.findall(r"```python\n(.*?)```", section("A teacher that is a function"), re.DOTALL)
    (tmp_path / "remote.py").write_text(code, "utf-8")
    load_callable("remote.py:answers", tmp_path).__globals__["classifier"] = classifier
    teacher = FunctionTeacher("remote.py:answers", tmp_path, {"image": images}, None)
    assert teacher.prediction_shape == (3,)


def test_every_way_to_weigh_teachers_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", section("Several teachers"), re.MULTILINE)
    assert rows == list(WEIGHINGS)


def test_every_key_of_a_changing_value_is_shown() -> None:
    assert [field.name for field in fields(Schedule) if f"{field.name}: " not in PAGE] == []


def test_its_recipe_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    recipe = loaded(tmp_path, text, teacher=TEACHER)
    assert recipe.distill is not None
    assert len(recipe.distill.losses) == 4
