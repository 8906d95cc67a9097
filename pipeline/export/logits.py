"""Whether a model predicts logits, which losses and metrics read, by how its graph ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgestill.errors import ModelError

# Operations that move or copy values and leave them as they are.
_MOVES = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_ENDINGS = {"Sigmoid": "a sigmoid", "HardSigmoid": "a sigmoid", "Softmax": "a softmax"}


def require_logits(
    model: Any, prediction: str, shape: Sequence[int], task: str, *, taught: bool
) -> None:
    """Refuse probabilities where they would be taken for logits.

    Args:
        model: an `onnx.ModelProto`.
        prediction: the name of the output that metrics read.
        shape: what it predicts for one sample.
        taught: whether it learns, or another model from it.

    Raises:
        ModelError: each value is a yes or no, and all are above 0, which means yes; or losses would
            take the softmax of a softmax.
    """
    ending = _ending(model.graph, prediction)
    if ending is None or task not in ("classification", "multilabel"):
        return
    found = f"its prediction comes out of {ending}, and scores and losses read what goes into it"
    if ending == "a sigmoid" and (task == "multilabel" or not shape or shape[0] == 1):
        found += ": every value would be above 0, which means yes"
    elif not taught:  # the largest of several values is the same one before and after
        return
    raise ModelError(
        found,
        fix=f"Return what goes into {ending}; an application can apply it to what the release "
        "answers",
    )


def _ending(graph: Any, output: str) -> str | None:
    """What the values of an output came out of last, in words; None for anything else."""
    producers = {name: node for node in graph.node for name in node.output}
    while (node := producers.get(output)) is not None and node.op_type in _MOVES:
        output = node.input[0]
    return None if node is None else _ENDINGS.get(node.op_type)
