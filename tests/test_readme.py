"""What the README says is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import edgestill
from edgestill.cli.group import COMMANDS
from edgestill.errors import ExitCode
from edgestill.metrics import METRICS
from edgestill.recipe import load_recipe
from edgestill.recipe.draft import KEYS
from edgestill.targets import TARGETS
from edgestill.train.config import TrainConfig
from edgestill.train.losses.config import LOSS_CONFIGS
from edgestill.verify.config import GATE_CONFIGS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


RECIPES: list[str] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


def test_its_recipe_is_one(tmp_path: Path) -> None:
    recipe = RECIPES[0]
    (tmp_path / "recipe.yaml").write_text(recipe, "utf-8")
    (tmp_path / "data").mkdir()
    for name in ("data/train-0.parquet", "data/test-0.parquet", "teacher.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "nets.py").write_text("def teacher(): ...\ndef student(): ...\n", "utf-8")
    loaded = load_recipe(str(tmp_path / "recipe.yaml"))
    assert [t.target for t in loaded.targets] == ["openvino", "onnxruntime", "tensorrt-rtx"]
    # A device with one runtime verifies that one.
    (extra,) = re.findall(r"pip install '\.\[(\w+)\]'", section("On the device"))
    assert f"edgestill verify flowers/ --target {extra}\n" in section("On the device")
    assert extra in [target.target for target in loaded.targets if target.verify == "here"]


def test_its_part_of_a_recipe_is_one(tmp_path: Path) -> None:
    (part,) = RECIPES[1:]
    (tmp_path / "minilm").mkdir()
    (tmp_path / "minilm" / "config.json").write_text('{"architectures": ["BertModel"]}', "utf-8")
    (tmp_path / "minilm" / "model.safetensors").touch()
    (tmp_path / "data.py").write_text("def sentences(): ...\n", "utf-8")
    (tmp_path / "recipe.yaml").write_text(f"name: part\n{part}distill: {{}}\n", "utf-8")
    recipe = load_recipe(str(tmp_path / "recipe.yaml"))
    assert recipe.student is not None and recipe.student.model == "hf:minilm"


def test_it_names_every_key_metric_loss_gate_and_target() -> None:
    reference = section("Recipe reference")
    schedule = [field.name for field in fields(TrainConfig)]
    names = (*KEYS, *METRICS, *LOSS_CONFIGS, *GATE_CONFIGS, *TARGETS, *schedule)
    assert [name for name in names if not re.search(rf"\b{name}\b", reference)] == []


def test_it_names_every_command_exit_code_and_verb() -> None:
    commands = section("Commands")
    assert [name for name in COMMANDS if f"`{name}" not in commands] == []
    assert [code for code in ExitCode if f"\n| {int(code)} |" not in commands] == []
    verbs = [name for name in edgestill.__all__ if name.islower() and name != "__version__"]
    assert [name for name in verbs if name not in README] == []


def test_its_figures_are_filled_in() -> None:
    assert "@@" not in README


def test_its_two_commands_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for command in re.findall(r"\bmake (\w+)", README):
        assert f"\n{command}:" in makefile
