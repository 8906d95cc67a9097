"""Models in folders of the transformers library: class, weights, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgestill.errors import ModelError, RecipeError
from edgestill.models.config import ModelConfig
from edgestill.models.hugging_face import build, folder_of
from edgestill.models.resolve import build as build_model
from edgestill.planner import make_plan
from edgestill.recipe import load_recipe

torch = pytest.importorskip("torch", reason="pip install 'edgestill[build]'")
transformers = pytest.importorskip("transformers", reason="pip install 'edgestill[transformers]'")

TOKENS = torch.tensor([[2, 5, 7, 3], [2, 9, 3, 0]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sentence classifier of two layers and three classes, in half precision as many are."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=12,
        num_labels=3,
    )
    made = tmp_path / "bert"
    transformers.BertForSequenceClassification(config).half().save_pretrained(made)
    return made


@pytest.fixture
def edit(folder: Path) -> Callable[..., None]:
    """Changes the folder's settings; a setting of None is left out."""

    def change(**settings: Any) -> None:
        file = folder / "config.json"
        values = json.loads(file.read_text()) | settings
        kept = {key: value for key, value in values.items() if value is not None}
        file.write_text(json.dumps(kept))

    return change


def test_a_reference_names_a_folder() -> None:
    assert folder_of("hf:models/bert") == "models/bert"
    assert folder_of("nets.py:bert") is None and folder_of(None) is None


def test_the_model_is_what_the_library_itself_loads(folder: Path) -> None:
    module = build_model(ModelConfig(model="hf:bert"), folder.parent).eval()
    expected = transformers.AutoModelForSequenceClassification.from_pretrained(folder).float()
    assert type(module) is transformers.BertForSequenceClassification
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    with torch.no_grad():
        torch.testing.assert_close(
            module(input_ids=TOKENS).logits, expected.eval()(input_ids=TOKENS).logits
        )


def test_arguments_say_what_differs_from_the_folder(folder: Path) -> None:
    shallow = build(folder, {"num_hidden_layers": 1, "num_labels": 5})
    whole = build(folder, {})
    assert len(shallow.bert.encoder.layer) == 1 and shallow.classifier.out_features == 5
    own, given = (
        shallow.bert.encoder.layer[0].state_dict(),
        whole.bert.encoder.layer[0].state_dict(),
    )
    assert all(torch.equal(own[name], given[name]) for name in given)
    tagger = build(folder, {"architectures": ["BertForTokenClassification"]})
    assert type(tagger) is transformers.BertForTokenClassification
    torch.testing.assert_close(
        tagger.bert.embeddings.word_embeddings.weight, whole.bert.embeddings.word_embeddings.weight
    )


def test_a_folder_without_weights_is_a_model_to_be_trained(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.manual_seed(1)
    first = build(folder, {})
    torch.manual_seed(1)
    assert torch.equal(first.classifier.weight, build(folder, {}).classifier.weight)
    with pytest.raises(ModelError, match=r"the folder has no weights. Add model.safetensors, or"):
        build(folder, {}, complete=True)


def test_weights_that_are_lacking_are_not_drawn_at_random_unasked(folder: Path) -> None:
    whole = transformers.BertModel.from_pretrained(folder)
    whole.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (folder / "config.json").write_text(json.dumps(config))
    lacks = (
        r"the folder lacks weights of BertForSequenceClassification: classifier.bias, "
        r"classifier.weight. To train them, say in arguments what differs from the folder"
    )
    with pytest.raises(ModelError, match=lacks):
        build(folder, {})
    assert build(folder, {"num_labels": 2}).classifier.out_features == 2
    with pytest.raises(ModelError, match=lacks):
        build(folder, {"num_labels": 2}, complete=True)


def test_weights_of_another_shape_are_lacking_too(folder: Path) -> None:
    with pytest.raises(
        ModelError, match=r"lacks weights of .*: classifier.bias, classifier.weight"
    ):
        build(folder, {"num_labels": 7}, complete=True)


def test_an_argument_that_is_no_setting(folder: Path) -> None:
    with pytest.raises(
        ModelError, match=r": num_label is no .* Did you mean 'num_labels'\?"
    ) as told:
        build(folder, {"num_label": 2})
    assert told.value.where == str(folder)


def test_a_class_that_the_library_lacks(folder: Path, edit: Callable[..., None]) -> None:
    edit(architectures=["OurOwnBert"])
    with pytest.raises(
        ModelError, match=r"has no OurOwnBert. Give a model with code of its own as"
    ):
        build(folder, {})


def test_a_kind_of_model_that_the_library_lacks(folder: Path, edit: Callable[..., None]) -> None:
    edit(model_type="our_own")
    with pytest.raises(ModelError, match=r"cannot read config.json \(ValueError: .*our_own"):
        build(folder, {})


def test_broken_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(
        ModelError, match=r"cannot be loaded into BertForSequence.* Fetch the folder"
    ):
        build(folder, {})


RECIPE = """\
name: small
data: {source: data.npz}
student: {model: "hf:bert", %s}
"""


def problems(folder: Path, way: str = "pretrained: true") -> str:
    (folder.parent / "data.npz").touch()
    recipe = folder.parent / "recipe.yaml"
    recipe.write_text(RECIPE % way)
    with pytest.raises(RecipeError) as told:
        load_recipe(str(recipe))
    return str(told.value)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda f: f.rename(f.with_name("treb")),
            r"there is no folder \S+bert. Name a folder that",
        ),
        (
            lambda f: (f / "config.json").unlink(),
            r"the folder \S+ has no config.json. Name a folder",
        ),
        (lambda f: (f / "config.json").write_text("{"), r"config.json is not JSON \(.*Fetch the"),
        (lambda f: (f / "config.json").write_text("{}"), r"names no architectures. Add \"arch"),
    ],
    ids=["no folder", "no settings", "not JSON", "no class"],
)
def test_what_a_plan_tells_of_a_folder(
    folder: Path, break_it: Callable[[Path], Any], message: str
) -> None:
    break_it(folder)
    assert re.search(r"student.model: .*" + message, problems(folder))


def test_a_plan_tells_of_final_weights_that_are_not_there(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "bert has no weights, and pretrained says that they are final" in problems(folder)


def test_a_model_depends_on_its_folder_and_on_the_library(folder: Path) -> None:
    (folder.parent / "data.npz").touch()
    recipe = folder.parent / "recipe.yaml"
    recipe.write_text(RECIPE % "pretrained: true")
    step = make_plan(load_recipe(str(recipe))).steps["student"]
    assert step.files == (folder,) and step.code == ("transformers:PreTrainedModel",)
