"""What the public verbs take for a path, for names and for a number, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import edgestill
from edgestill.errors import UsageError

Verb = Callable[..., Any]


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_a_str_or_a_path(kind: Callable[[Path], Any], tmp_path: Path) -> None:
    folder, store = kind(tmp_path / "project"), kind(tmp_path / "store")
    recipe, _ = edgestill.write_templates(folder)
    change = "data.limit=200"
    (data, *_) = edgestill.plan_recipe(kind(recipe), overrides=change, store=store).steps
    assert (data.name, data.state) == ("data", "miss")
    assert edgestill.Store(store).entries() == []


def test_one_target_may_be_a_plain_str(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the recipe has no target 'openvin'"):
        edgestill.run_recipe("digits", targets="openvin", store=str(tmp_path))


REFUSED: dict[str, tuple[Verb, str]] = {
    "recipe": (partial(edgestill.run_recipe, 3), "recipe is an int, not a path"),
    "planned": (partial(edgestill.plan_recipe, None), "recipe is None, not a path"),
    "store": (partial(edgestill.plan_recipe, "digits", store=1), "store is an int, not a path"),
    "out": (partial(edgestill.run_recipe, "digits", out=b"o"), "out is a bytes, not a path"),
    "release": (partial(edgestill.verify_release, ["a"]), "release is a list, not a path"),
    "report": (partial(edgestill.read_report, 1.5), "path is a float, not a path"),
    "templates": (partial(edgestill.write_templates, None), "folder is None, not a path"),
    "loaded": (partial(edgestill.load, None), "release is None, not a path"),
    "targets": (partial(edgestill.run_recipe, "digits", targets=1), "targets is an int"),
    "overrides": (
        partial(edgestill.plan_recipe, "digits", overrides=["seed=1", 2]),
        "overrides is a list of a str, an int",
    ),
    "diagnosed": (partial(edgestill.diagnose, "digits", overrides=7), "overrides is an int"),
    "batch": (partial(edgestill.profile_model, "x", batch=0), "batch is 0"),
    "rounds": (partial(edgestill.profile_model, "x", rounds="12"), "rounds is '12'"),
    "threads": (partial(edgestill.profile_model, "x", threads=True), "threads is True"),
}


@pytest.mark.parametrize(("call", "words"), REFUSED.values(), ids=REFUSED)
def test_what_else_is_refused_by_name(
    call: Verb, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as raised:
        call()
    assert raised.value.what == words
    assert raised.value.fix in (
        "Give a str or a pathlib.Path",
        "Give a str, or a list of them",
        "Give a whole number from 1",
    )


MODES = [
    (
        {"mode": "ofline"},
        "mode: 'ofline' is not a mode. Did you mean offline? Modes: single, offline. "
        "With a rate, such as --rate 100/s, requests arrive at random times",
    ),
    ({"rate": 0.0}, "rate: 0/s is no rate. Give one above 0, such as --rate 100/s"),
    ({"rate": math.inf}, "rate: inf/s is no rate. Give one above 0, such as --rate 100/s"),
    (
        {"mode": "offline", "rate": 9},
        "rate: offline, all samples are there, and none arrives at a rate. "
        "Leave out the rate, or the mode",
    ),
]


@pytest.mark.parametrize(("arguments", "text"), MODES)
def test_a_mode_and_a_rate_have_to_fit(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as raised:
        edgestill.profile_model("x", **arguments)
    assert str(raised.value) == text
