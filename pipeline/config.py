"""How a stage's configuration is declared: a frozen dataclass that pydantic validates strictly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:  # typing has it from Python 3.11 on

    def dataclass_transform(**_: Any) -> Any:
        return lambda decorator: decorator


Class = TypeVar("Class")

Count = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Portion = Annotated[float, Field(gt=0, le=1)]  # of something there is some of
Fraction = Annotated[float, Field(ge=0, lt=1)]  # that leaves something


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def config(cls: type[Class]) -> type[Class]:
    """Make `cls` a frozen dataclass in which pydantic refuses unknown keys."""
    settings: dict[str, Any] = {"extra": "forbid"}
    cls.__pydantic_config__ = settings  # type: ignore[attr-defined]
    return dataclass(frozen=True)(cls)
