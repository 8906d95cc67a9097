"""Equal values have equal digests, different ones do not, and a folder's log does not count."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgestill.digest import (
    canonical,
    canonical_json,
    content_digest,
    digest_bytes,
    digest_file,
    digest_files,
    digest_folder,
    digest_value,
)

quickly = settings(deadline=None, max_examples=60)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def reordered(value: Any) -> Any:
    """The same value with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


def with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: with_tuples(item) for key, item in value.items()}
    return tuple(with_tuples(item) for item in value) if isinstance(value, list) else value


@quickly
@given(values)
def test_key_order_and_kind_of_sequence_do_not_matter(value: Any) -> None:
    assert digest_value(reordered(value)) == digest_value(value)
    assert digest_value(with_tuples(value)) == digest_value(value)


@quickly
@given(values, values)
def test_digests_are_equal_exactly_when_the_json_is(one: Any, other: Any) -> None:
    assert (digest_value(one) == digest_value(other)) == (
        canonical_json(one) == canonical_json(other)
    )


@quickly
@given(values)
def test_canonical_json_reads_back_as_the_canonical_value(value: Any) -> None:
    assert json.loads(canonical_json(value)) == canonical(value)
    assert canonical(canonical(value)) == canonical(value)


@quickly
@given(st.sets(st.tuples(st.integers(), st.text())))
def test_sets_are_ordered_by_their_content(value: set[tuple[int, str]]) -> None:
    in_order = sorted(value, key=canonical_json)
    assert digest_value(value) == digest_value(frozenset(value)) == digest_value(in_order)


class Precision(Enum):
    INT8 = "int8"


@dataclass(frozen=True)
class Config:
    epochs: int
    path: Path
    precision: Precision = Precision.INT8
    note: str = field(default="", compare=False)


def test_typed_values_are_what_they_stand_for() -> None:
    assert canonical(Config(3, Path("a/b"))) == {"epochs": 3, "path": "a/b", "precision": "int8"}
    assert canonical(MappingProxyType({"a": (1,)})) == {"a": [1]}


def test_dataclasses_that_are_equal_have_equal_digests() -> None:
    one, other = Config(3, Path("a"), note="one"), Config(3, Path("a"), note="other")
    assert one == other
    assert digest_value(one) == digest_value(other)


@pytest.mark.parametrize("value", [print, object(), {1: "a", "1": "b"}, [{"a": b"bytes"}]])
def test_a_value_without_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="no canonical form"):
        digest_value(value)


def test_numbers_that_json_tells_apart_stay_apart() -> None:
    assert len({digest_value(value) for value in (1, 1.0, True, "1", [1], None)}) == 6


def test_the_digest_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert digest_file(tmp_path / "file") == digest_bytes(b"abc") == expected


def test_a_folder_is_its_names_and_bytes_without_its_logs(tmp_path: Path) -> None:
    (tmp_path / "part" / "log").mkdir(parents=True)
    (tmp_path / "log").mkdir()
    (tmp_path / "weights.bin").write_bytes(b"1")
    (tmp_path / "part" / "log.json").write_bytes(b"2")
    before = digest_folder(tmp_path)
    (tmp_path / "log" / "times.json").write_bytes(b"3")
    (tmp_path / "part" / "log" / "times.json").write_bytes(b"4")
    assert digest_folder(tmp_path) == before
    assert len(digest_files(tmp_path)) == 4
    (tmp_path / "part" / "log.json").rename(tmp_path / "part" / "other.json")
    assert digest_folder(tmp_path) != before


def test_a_file_name_that_is_not_utf8_has_a_digest() -> None:
    assert content_digest({"\udcff.png": "0" * 64}) != content_digest({"\udcfe.png": "0" * 64})
