"""How far quantization may go."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgestill.config import config
from edgestill.units import Points


@config
class BudgetConfig:
    """What int8 may cost on the validation split against the float model, before it is refused."""

    accuracy_drop: Points = 0.005


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
