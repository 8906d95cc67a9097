"""How a model is compiled."""

from __future__ import annotations

from typing import Any

from edgestill.config import config


@config
class CompileStep:
    """What determines an engine, beside the model and the machine.

    Attributes:
        options: the target's own options type.
    """

    target: str
    precision: str
    options: Any
