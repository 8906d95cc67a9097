"""YAML as a recipe reads it: plain scalars, lines, and input of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgestill.errors import RecipeError, UsageError
from edgestill.recipe import load_recipe
from edgestill.recipe.document import MOST_VALUES, read_document
from edgestill.recipe.draft import KEYS
from edgestill.targets import TARGETS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("3", 3),
        ("+3", 3),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-11-23", "2026-11-23"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("'3'", "3"),
        ("5 ms", "5 ms"),
        ("model.py:teacher", "model.py:teacher"),
        ("!!float 3", 3.0),
        ("!!str 3", "3"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    read = read_document(f"key: {text}", "recipe.yaml").tree["key"]
    assert read == value
    assert type(read) is type(value)


def test_every_key_knows_its_line() -> None:
    document = read_document("a: 1\n\nb:\n  - c: 2\n    d: >\n      long\n  - 3\n", "recipe.yaml")
    origins = {path: origin.order for path, origin in document.problems.origins.items()}
    assert origins == {
        (): 1,
        ("a",): 1,
        ("b",): 3,
        ("b", 0): 4,
        ("b", 0, "c"): 4,
        ("b", 0, "d"): 5,
        ("b", 1): 7,
    }


def test_an_alias_repeats_its_value() -> None:
    tree = read_document("a: &x {b: 1}\nc: *x\n", "recipe.yaml").tree
    assert tree == {"a": {"b": 1}, "c": {"b": 1}}


def test_an_override_of_one_alias_leaves_the_other() -> None:
    tree = read_document("a: &x {b: 1}\nc: *x\n", "recipe.yaml", ["c.b=2"]).tree
    assert tree == {"a": {"b": 1}, "c": {"b": 2}}


def test_aliases_of_aliases_do_not_grow_without_end() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(RecipeError, match=f"more than {MOST_VALUES} values"):
        read_document("\n".join(lines), "recipe.yaml")


def test_an_endless_number() -> None:
    document = read_document(f"seed: {'9' * 5000}", "recipe.yaml")
    with pytest.raises(RecipeError, match="is not a finite number"):
        document.problems.raise_any()


def test_deep_nesting() -> None:
    with pytest.raises(RecipeError, match="nested too deeply"):
        read_document("a: " + "[" * 100_000, "recipe.yaml")


def test_what_is_a_plain_word_for_yaml_is_one_here() -> None:
    """Against PyYAML: texts without any of the scalars that YAML 1.1 and 1.2 read differently."""
    text = "a: [one, two words, 'quoted', \"x\\ty\", 12, -7.25, true, null]\nb: {c: [], d: {}}\n"
    assert read_document(text, "recipe.yaml").tree == yaml.safe_load(text)


WORDS = st.sampled_from(
    [*KEYS, *TARGETS, "kd", "ce", "mse", "accuracy", "latency", "at_most", "at_least", "drop_vs",
     "model", "onnx", "weights", "train", "source", "split", "losses", "weight", "target",
     "precision", "int8", "auto", "batch", "function", "better", "model.py:net", "5 ms", "1pp"]
)  # fmt: skip
SCALARS = WORDS | st.text(max_size=8) | st.integers() | st.floats() | st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(WORDS, inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=12,
)
TREES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8)

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def only_usage_errors(path: Path, content: bytes, overrides: list[str]) -> None:
    path.write_bytes(content)
    try:
        load_recipe(str(path), overrides)
    except UsageError as error:
        assert str(error)
        str(error).encode()  # no lone surrogate, which no terminal takes


@QUICK
@given(tree=TREES)
def test_any_tree_is_a_recipe_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]
) -> None:
    content = yaml.safe_dump(tree, allow_unicode=False).encode()
    only_usage_errors(tmp_path_factory.getbasetemp() / "tree.yaml", content, [])


@QUICK
@given(text=st.text(alphabet=st.sampled_from("ab:-[]{}#&*!|>'\"%@` \n\t?,~\\0.e\x00\ufeff")))
def test_any_text_is_a_recipe_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    only_usage_errors(tmp_path_factory.getbasetemp() / "text.yaml", text.encode(), [])


@QUICK
@given(content=st.binary(max_size=40))
def test_any_bytes_are_a_recipe_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    only_usage_errors(tmp_path_factory.getbasetemp() / "bytes.yaml", content, [])


@QUICK
@given(
    keys=st.lists(WORDS | st.text(max_size=3) | st.sampled_from("0123"), min_size=1, max_size=4),
    value=st.text(max_size=6) | VALUES.map(repr),
)
def test_any_override_is_taken_or_a_usage_error(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], value: str
) -> None:
    recipe = b"name: a\ndata: {source: sklearn.digits}\ntargets: [openvino]\ngates: {}\n"
    override = f"{'.'.join(keys)}={value}"
    only_usage_errors(tmp_path_factory.getbasetemp() / "set.yaml", recipe, [override])


@QUICK
@given(name=st.text(max_size=300))
def test_any_name_is_a_recipe_or_a_usage_error(name: str) -> None:
    try:
        load_recipe(name)
    except UsageError as error:
        assert str(error)
