"""How a stage's configuration is declared: a frozen dataclass that pydantic validates strictly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:  # typing has it from Python 3.11 on

    def dataclass_transform(**_: Any) -> Any:
        return lambda decorator: decorator


Class = TypeVar("Class")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def config(cls: type[Class]) -> type[Class]:
    """Make `cls` a frozen dataclass in which pydantic refuses unknown keys."""
    settings: dict[str, Any] = {"extra": "forbid"}
    cls.__pydantic_config__ = settings  # type: ignore[attr-defined]
    return dataclass(frozen=True)(cls)
