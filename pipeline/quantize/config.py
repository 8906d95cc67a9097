"""How far quantization may go."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgestill.config import config
from edgestill.units import Score

DEFAULT_DROP = 0.005  # half a point, of metrics that are proportions


@config
class BudgetConfig:
    """What int8 may cost on the validation split against the float model, before it is refused.

    Attributes:
        accuracy_drop: in the metric; left out, half a point. A metric that is no proportion, such
            as mae, has no default.
    """

    accuracy_drop: Score | None = None


@config
class QuantizeConfig:
    """Attributes:
    samples: how many calibration samples give the ranges.
    """

    budget: BudgetConfig = BudgetConfig()
    samples: Annotated[int, Field(gt=0)] = 300


@config
class QuantizeStep:
    """What determines an int8 model, beside the float model and the samples."""

    samples: int
    scheme: str
