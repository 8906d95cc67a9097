"""What docs/ say is so."""

from __future__ import annotations

import re
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from edgestill.cli.profile import command as profile
from edgestill.departures.parity import allowed_error
from edgestill.departures.search import first_outlying
from edgestill.distill.config import CacheConfig, PeerConfig, SchemeConfig, StageConfig
from edgestill.metrics import METRICS
from edgestill.models.resolve import load_callable
from edgestill.recipe import Recipe, load_recipe
from edgestill.stats import calls_needed, last_look, smallest_sample
from edgestill.stats.looks import looks
from edgestill.targets import energy
from edgestill.targets.options import OpenVinoOptions
from edgestill.train.config import AugmentConfig
from edgestill.train.losses.config import LOSS_CONFIGS, LossConfig
from edgestill.train.schedule import Schedule
from edgestill.train.teachers.ensemble import WEIGHINGS
from edgestill.train.teachers.function import FunctionTeacher
from edgestill.verify.config import (
    LARGEST_BATCH,
    OFFLINE,
    PACED_CALLS,
    Load,
    MeasureConfig,
    measured_loads,
)
from edgestill.verify.results import MOST_FLIPS

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "distillation.md").read_text("utf-8")
MEASURING = (DOCS / "measuring.md").read_text("utf-8")
VERDICTS = (DOCS / "verdicts.md").read_text("utf-8")
ACCURACY = (DOCS / "accuracy.md").read_text("utf-8")


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


def row(name: str) -> list[str]:
    """The cells of a row of a table on verdicts, but for the first."""
    (found,) = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", VERDICTS, re.MULTILINE)
    return [cell.strip() for cell in found.split("|")]


def test_the_smallest_samples_are_those_of_the_code() -> None:
    assert row("calls") == [str(smallest_sample(float(p))) for p in row("percentile")]
    at_a_look = last_look(12, 12).level(0.95)
    assert f"{calls_needed(95, at_a_look)} calls for p95" in VERDICTS
    assert f"{calls_needed(99, at_a_look)} for p99" in VERDICTS


def test_the_looks_are_those_of_the_code() -> None:
    first = list(islice(looks(MeasureConfig().rounds), 6))
    assert row("look") == [str(look.number) for look in first]
    assert row("rounds") == [str(look.rounds) for look in first]
    spent = [(1 - look.level(0.95)) / 0.05 for look in first]
    assert row("share of the error") == [f"1/{round(1 / share)}" for share in spent]
    assert row("level of its interval") == [f"{100 * look.level(0.95):g} %" for look in first]


def test_the_commands_that_print_the_tables_are_in_the_makefile() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text("utf-8")
    commands = re.findall(r"`make (\w+)`", VERDICTS)
    assert {"verdicts", "intervals"} <= set(commands)
    assert [command for command in commands if f"\n{command}:" not in makefile] == []
    assert "@@" not in VERDICTS


def test_its_recipe_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    recipe = loaded(tmp_path, text, teacher=TEACHER)
    assert recipe.distill is not None
    assert len(recipe.distill.losses) == 4


def test_the_recipe_of_measuring_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", MEASURING, re.DOTALL)
    (tmp_path / "nets.py").write_text("def net(): ...\n", "utf-8")
    recipe = {
        "name": "docs",
        "data": {"source": "sklearn.digits"},
        "student": {"model": "nets.py:net", "pretrained": True},
        "targets": ["onnxruntime"],
        **yaml.safe_load(text),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    loaded = load_recipe(str(tmp_path / "recipe.yaml"))
    # It shows the defaults, and gates of every mode.
    assert loaded.measure == MeasureConfig()
    assert measured_loads(loaded.gates) == (Load("paced", 1, 100.0), OFFLINE)


def test_the_commands_of_measuring_are_there() -> None:
    options = {name for option in profile.params for name in option.opts}
    assert set(re.findall(r"(--\w[\w-]*)", MEASURING)) <= options
    makefile = (DOCS.parent / "Makefile").read_text("utf-8")
    assert all(f"\n{name}:" in makefile for name in re.findall(r"^make (\w+)", MEASURING, re.M))


def test_the_numbers_of_measuring_are_those_of_the_code() -> None:
    assert f"and so on up to {LARGEST_BATCH}" in MEASURING
    assert f"A block has {PACED_CALLS} requests" in MEASURING
    assert f"{energy.FEWEST_UPDATES} updates" in " ".join(MEASURING.split())


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


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted([*DOCS.glob("*.md"), DOCS.parent / "README.md"]))
def test_every_link_leads_to_a_heading_or_a_file(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text("utf-8")):
        name, _, anchor = target.partition("#")
        place = page.parent / name if name else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize("page", ["measuring", "verdicts", "accuracy", "comparing", "ci"])
def test_the_readme_links_each_page(page: str) -> None:
    assert f"](docs/{page}.md" in (DOCS.parent / "README.md").read_text("utf-8")
