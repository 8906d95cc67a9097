"""The layer at which a model departs, whatever it is: an ONNX model, or an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgestill.artifact import Engine, OnnxModel
from edgestill.departures.engines import Compiling, search_engine
from edgestill.departures.parity import Arrays
from edgestill.departures.result import Departure
from edgestill.departures.search import search_onnx
from edgestill.errors import EdgestillError, UsageError
from edgestill.onnx_file import read_model
from edgestill.reference import describe
from edgestill.targets import TARGETS, get_target


def search(
    reference: OnnxModel,
    candidate: OnnxModel | Engine,
    feeds: Arrays,
    tolerance: float,
    *,
    threads: int,
    work: Path,
) -> Departure | None:
    """The layer at which a model departs from the one that it was made from.

    Args:
        feeds: a few samples, by input.
        tolerance: the relative error that an engine may have.
        work: where engines lie while they are asked.

    Raises:
        EdgestillError: it cannot be told.
    """
    if isinstance(candidate, OnnxModel):
        models = [read_model(model.model_path) for model in (reference, candidate)]
        return search_onnx(models[0], models[1], feeds)
    made = candidate.description
    target, options = get_target(made.target), options_of(candidate)
    compiling = Compiling(target, made.precision, options, threads)
    return search_engine(reference, compiling, feeds, tolerance, work)


def outcome(
    candidate: OnnxModel | Engine, find: Callable[[], Departure | None]
) -> tuple[Departure | None, str]:
    """What `find` finds; or why it could not be told."""
    # It explains a finding, and must not take its place, whatever a runtime or a graph does to it.
    try:
        found = find()
    except EdgestillError as error:
        return None, str(error).removesuffix(".")
    except Exception as error:  # noqa: BLE001
        return None, f"the search failed ({describe(error)})"
    if found is not None:
        return found, ""
    if isinstance(candidate, Engine):
        return None, "compiled here anew, the model answers as it should"
    return None, "no layer departs by itself on the samples that were compared"


def options_of(engine: Engine) -> Any:
    """The options that an engine was compiled with, as its target's own type.

    Raises:
        UsageError: another version of edgestill made it, with options that this one does not know.
    """
    made = engine.description
    try:
        return TARGETS[made.target].options(**made.options)
    except (TypeError, ValueError) as error:
        options = ", ".join(f"{name}: {value}" for name, value in made.options.items())
        raise UsageError(
            f"the engine was compiled with options that {made.target} does not have in this "
            f"version of edgestill ({options})",
            where=str(engine.path),
            fix="Verify it with the version that built it, or build it again with this one",
        ) from error
