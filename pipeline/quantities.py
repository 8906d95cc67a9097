"""Quantities as a reader wants them: few digits, the fitting unit, and what they rest on."""

from __future__ import annotations

from collections.abc import Callable

from edgestill.verdict import Decision, Estimate, Verdict

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_ENERGIES = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


def digits(value: float, significant: int = 3) -> str:
    """`value` to so many significant digits: 1234.5 -> 1234, 0.01236 -> 0.0124; an exponent only
    below a millionth."""
    if value == 0:
        return "0"
    text = f"{value:.{significant}g}"
    if "e" in text and abs(value) >= 1e-6:
        text = f"{value:.0f}" if abs(value) >= 1 else f"{value:.6f}".rstrip("0")
    return text


def time_text(seconds: float) -> str:
    """A duration such as `51.2 µs`."""
    return _in_fitting_unit(seconds, _TIMES)


def duration_text(seconds: float) -> str:
    """How long something lasts, to read and not to compare: `45 s`, `12 min`, `7.5 h`, `3 days`."""
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{digits(seconds / size, 2)} {unit}"
    return time_text(seconds)


def size_text(size_bytes: float) -> str:
    """A size such as `97.2 kB`, in powers of 1000."""
    return _in_fitting_unit(size_bytes, _SIZES)


def energy_text(joules: float) -> str:
    """An energy such as `1.25 mJ`."""
    return _in_fitting_unit(joules, _ENERGIES)


def rate_text(per_second: float, significant: int = 3) -> str:
    """A rate such as `100/s`, and below one a second `6/min`."""
    if 0 < per_second < 1:
        return f"{digits(60 * per_second, significant)}/min"
    return f"{digits(per_second, significant)}/s"


def _in_fitting_unit(value: float, units: tuple[tuple[float, str], ...]) -> str:
    # What is shown decides: 0.0009999 s rounds to 1 ms, not to 1000 µs.
    shown = abs(float(f"{value:.3g}"))
    scale, unit = next(((s, u) for s, u in units if shown >= s), units[-1])
    return f"{digits(value / scale)} {unit}"


def score_text(value: float, unit: str, *, drop: bool = False) -> str:
    """A score or a drop; proportions (`unit` is `pp`) as percent and as percentage points."""
    if unit != "pp":
        return digits(value, 4)
    percent = round(100 * value, 2) + 0.0  # which is never -0.00
    return f"{percent:.2f}pp" if drop else f"{percent:.2f}%"


def worse(bigger_is_better: bool) -> str:
    """What a metric that gets worse does: a score drops, an error rises."""
    return "drop" if bigger_is_better else "rise"


def count_text(count: int, one: str, many: str) -> str:
    """`1 process`, `12 processes`."""
    return f"{count} {one if count == 1 else many}"


def estimate_text(estimate: Estimate, text: Callable[[float], str], *, of: str = "samples") -> str:
    """The value, its interval and what it rests on: `51.2 µs [49, 53], 1200 calls`."""
    value = text(estimate.value)
    if estimate.interval is not None:
        value += f" [{text(estimate.interval.low)}, {text(estimate.interval.high)}]"
    return f"{value}, n = {estimate.count} {of}"


def margin_text(decision: Decision, text: Callable[[float], str] | None = None) -> str:
    """How far inside or outside its budget a value certainly is, such as `12% inside`; empty where
    nothing is certain.

    Args:
        text: what the margin is written with; else it is a share of the budget, which is not 0.
    """
    verdict, margin = decision.verdict, decision.margin
    if margin is None or verdict is Verdict.INCONCLUSIVE:
        return ""
    if margin == 0:
        return "at the budget"
    side = "inside" if verdict is Verdict.PASS else "outside"
    far = text(abs(margin)) if text else _percent(abs(margin / decision.budget))
    if text and far == text(0.0):
        far = "just"
    return f"{far} {side}"


def _percent(share: float) -> str:
    return f"{digits(100 * share, 2)}%" if share >= 0.001 else "under 0.1%"
