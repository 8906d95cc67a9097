"""edgestill: distil, quantize, compile and verify PyTorch models for edge devices.

The public names below come in on first use, so that `import edgestill` costs next to nothing and
a device needs no training stack.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgestill.api.application import load
    from edgestill.api.baseline import accept_baseline, check_baseline
    from edgestill.api.compare import compare_releases
    from edgestill.api.doctor import Diagnosis, diagnose
    from edgestill.api.plan import plan_recipe
    from edgestill.api.profile import profile_model
    from edgestill.api.report import read_report
    from edgestill.api.run import run_recipe
    from edgestill.api.verify import verify_release
    from edgestill.errors import (
        DamagedRelease,
        DataError,
        DeviceError,
        EdgestillError,
        EnvironmentFailure,
        ExitCode,
        ExportError,
        MissingExtra,
        ModelError,
        RecipeError,
        StoreError,
        UsageError,
    )
    from edgestill.report.model import Report
    from edgestill.store import Store
    from edgestill.targets import get_target
    from edgestill.templates import write_templates
    from edgestill.verdict import Verdict
    from edgestill.verify.budgets import Budgets
    from edgestill.verify.comparison import Comparison

    __version__: str

__all__ = [
    "Budgets",
    "Comparison",
    "DamagedRelease",
    "DataError",
    "DeviceError",
    "Diagnosis",
    "EdgestillError",
    "EnvironmentFailure",
    "ExitCode",
    "ExportError",
    "MissingExtra",
    "ModelError",
    "RecipeError",
    "Report",
    "Store",
    "StoreError",
    "UsageError",
    "Verdict",
    "__version__",
    "accept_baseline",
    "check_baseline",
    "compare_releases",
    "diagnose",
    "get_target",
    "load",
    "plan_recipe",
    "profile_model",
    "read_report",
    "run_recipe",
    "verify_release",
    "write_templates",
]

# Where each public name is defined; what is not listed is an error.
_HOMES = {
    "Budgets": "edgestill.verify.budgets",
    "Comparison": "edgestill.verify.comparison",
    "Diagnosis": "edgestill.api.doctor",
    "Report": "edgestill.report.model",
    "Store": "edgestill.store",
    "Verdict": "edgestill.verdict",
    "accept_baseline": "edgestill.api.baseline",
    "check_baseline": "edgestill.api.baseline",
    "compare_releases": "edgestill.api.compare",
    "diagnose": "edgestill.api.doctor",
    "get_target": "edgestill.targets",
    "load": "edgestill.api.application",
    "plan_recipe": "edgestill.api.plan",
    "profile_model": "edgestill.api.profile",
    "read_report": "edgestill.api.report",
    "run_recipe": "edgestill.api.run",
    "verify_release": "edgestill.api.verify",
    "write_templates": "edgestill.templates",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from edgestill.installed import installed_version

        value: Any = installed_version("edgestill") or ""
    elif name in __all__:
        value = getattr(import_module(_HOMES.get(name, "edgestill.errors")), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # asked for once only
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
