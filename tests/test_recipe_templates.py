"""What `edgestill init` writes is a recipe that loads and code that works."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from edgestill.errors import UsageError
from edgestill.recipe import load_recipe
from edgestill.templates import write_templates


def test_the_written_recipe_loads(tmp_path: Path) -> None:
    written = write_templates(tmp_path / "new" / "project")
    assert [file.name for file in written] == ["recipe.yaml", "model.py"]
    recipe = load_recipe(str(written[0]))
    assert recipe.data.source == "model.py:load"
    assert recipe.distill is not None
    assert recipe.gates


def test_what_the_written_recipe_shows_in_comments_is_right(tmp_path: Path) -> None:
    recipe_file = write_templates(tmp_path)[0]
    overrides = [
        "threads=2",
        "distill.weight_decay=0.01",
        "distill.warmup=0.1",
        "distill.clip_norm=1.0",
        "distill.losses.1.kd.temperature=2",
        "export={batch: dynamic, opset: 20}",
        "quantize.samples=300",
        "targets=[onnxruntime, {target: openvino}, "
        "{target: tensorrt-rtx, precision: [fp16, int8], verify: elsewhere}]",
        "measure={rounds: 12, block: 60 ms, level: 0.95, time_limit: 60 s, decide_within: 60 s}",
        "gates.throughput={at_least: 1000/s, batch: 8}",
        "gates.speedup={over: teacher, at_least: 1.5x}",
        "gates.memory={at_most: 500 MB}",
        "gates.latency=[{at_most: 5 ms}, {at_most: 9 ms, batch: 8}]",
        "gates.accuracy={at_least: 92 %}",
    ]
    plain, changed = load_recipe(str(recipe_file)), load_recipe(str(recipe_file), overrides)
    assert changed.measure == plain.measure
    assert changed.export == plain.export
    assert changed.quantize == plain.quantize


def test_the_written_code_gives_data_and_models_that_fit(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="pip install 'edgestill[build]'")
    pytest.importorskip("sklearn", reason="pip install 'edgestill[build]'")
    code = runpy.run_path(str(write_templates(tmp_path)[1]))
    data = code["load"]()
    assert data["image"].shape == (1797, 1, 8, 8)
    assert str(data["image"].dtype) == "uint8"
    assert data["image"].max() == 16
    images = torch.from_numpy(data["image"][:4]).float() / 16
    sizes = []
    for role in ("teacher", "student"):
        model = code[role]().eval()
        assert model(images).shape == (4, 10)
        sizes.append(sum(parameter.numel() for parameter in model.parameters()))
    assert sizes[0] > 10 * sizes[1]


@pytest.mark.parametrize("present", ["recipe.yaml", "model.py"])
def test_nothing_is_overwritten(tmp_path: Path, present: str) -> None:
    (tmp_path / present).write_text("mine")
    with pytest.raises(UsageError) as raised:
        write_templates(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}: {present} would be overwritten. "
        f"Name another folder, such as edgestill init {tmp_path}-2"
    )
    assert [file.name for file in tmp_path.iterdir()] == [present]
    assert (tmp_path / present).read_text() == "mine"


def test_the_folder_that_is_suggested_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def suggested(folder: str) -> str:
        with pytest.raises(UsageError) as raised:
            write_templates(folder)
        return (raised.value.fix or "").removeprefix("Name another folder, such as edgestill init ")

    write_templates(".")
    assert suggested(".") == "my-model"
    write_templates("my-model")
    assert suggested("my-model") == suggested(".") == "my-model-2"
    write_templates("my-model-2")
    assert suggested("my-model") == "my-model-3"


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "project").write_text("mine")
    with pytest.raises(UsageError, match="project: cannot be written"):
        write_templates(tmp_path / "project")
