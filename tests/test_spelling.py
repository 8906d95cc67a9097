"""What is offered in the place of a misspelt name."""

from __future__ import annotations

import pytest

from edgestill.spelling import best_match, did_you_mean, nearest

LOSSES = ("ce", "kd", "mse")


@pytest.mark.parametrize(
    ("word", "match"),
    [
        ("epoch", "epochs"),
        ("EPOCHS", "epochs"),
        ("mobilenet_v2", "MobileNetV2"),
        ("learning-rate", "learning_rate"),
        ("width", None),
        ("", None),
        (3, None),
    ],
)
def test_a_match_is_alike_in_most_letters_whatever_their_case(
    word: object, match: str | None
) -> None:
    assert best_match(word, ["epochs", "learning_rate", "MobileNetV2"]) == match


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("kld", "Did you mean kd? Known losses: ce, kd, mse"),
        ("hinge", "Known losses: ce, kd, mse"),
    ],
)
def test_the_words_of_a_table_are_shown_in_any_case(word: str, text: str) -> None:
    assert did_you_mean(word, LOSSES, "Known losses") == text


def test_of_many_names_the_first_are_shown_where_none_is_near() -> None:
    names = [f"layer_{number}" for number in range(100)]
    assert nearest("layer_77x", names, "Layers") == "Did you mean 'layer_77'?"
    assert nearest("head", names, "Layers") == f"Layers: {', '.join(names[:20])}"
    assert nearest("head", [], "Layers") == "Layers: none"
