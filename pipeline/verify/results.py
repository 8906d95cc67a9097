"""What a verification found, as plain frozen data that is written to JSON as it is."""

from __future__ import annotations

from dataclasses import dataclass

from edgestill.departures.result import Departure
from edgestill.verdict import Estimate, Verdict

EVERY_GATE = "all"  # stands for the gates of a target that was not run
MOST_FLIPS = 20
MOST_CLASSES = 20


@dataclass(frozen=True)
class GateResult:
    """One budget on one target.

    Attributes:
        budget: the budget in words, such as `p95 latency <= 5 ms`.
        found: what was found, in words, with the bound that decided.
        advice: what would decide it, or why it was not run; empty for a plain verdict.
    """

    gate: str
    target: str
    verdict: Verdict
    budget: str
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Flip:
    """A sample that was answered right and is answered wrong now.

    Attributes:
        sample: its row in the split.
        id: its hash, which is the same in every split and run that has the sample.
        label: the name of its class, as `before` and `after` are.
    """

    sample: int
    id: str
    label: str
    before: str
    after: str


@dataclass(frozen=True)
class ClassDrop:
    """A class, or a label of a multi-label task.

    Attributes:
        before: the share of its samples that the reference has right.
        after: the same of the candidate.
        drop: with an exact interval, wide where samples are few; the intervals of all classes hold
            together, so that the worst of many is not taken for bad by chance.
    """

    name: str
    before: float
    after: float
    drop: Estimate


@dataclass(frozen=True)
class Changes:
    """A candidate against a reference, sample by sample.

    Attributes:
        reference: the name of the model that it is compared with.
        lost: samples that only the reference has right.
        won: samples that only the candidate has right.
        p_value: that losing and winning are equally likely (McNemar's exact test, two-sided).
        flips: of the lost samples the first `MOST_FLIPS`.
        classes: those that drop most, at most `MOST_CLASSES`, the worst first.
        class_count: how many classes the split has.
    """

    reference: str
    lost: int
    won: int
    p_value: float
    flips: tuple[Flip, ...]
    classes: tuple[ClassDrop, ...]
    class_count: int


@dataclass(frozen=True)
class HopResult:
    """The model at one place on the way from teacher to device, on the test split.

    Attributes:
        score: the task's metric; None where it was not run.
        drop: how much worse than the parent, with its interval; positive is worse.
        agreement: the share of samples answered as the parent answers.
        largest_difference: between any two values of the parent's prediction and this one's.
        ships: whether something that ships is made from it.
        changes: which samples and classes it answers otherwise than its parent.
        overall: the same against the model that accuracy is owed to (the teacher, where there is
            one), for what ships.
        departure: where it departs from its parent, looked for when the two should agree and do
            not.
        unfound: why it could not be told where.
    """

    name: str
    parent: str | None
    score: float | None
    drop: Estimate | None
    agreement: float | None
    largest_difference: float | None
    ships: bool = False
    changes: Changes | None = None
    overall: Changes | None = None
    departure: Departure | None = None
    unfound: str = ""


@dataclass(frozen=True)
class LatencyResult:
    """The time of one call, over all blocks.

    Attributes:
        percentiles_ns: percentile -> estimate; only those that the sample count supports.
        median_ns: the median of all calls.
        throughput: samples per second, one call after the other.
        steady: the share of blocks whose warm-up settled.
        mismatches: timed calls whose output was not the expected one.
        first_load_ns: the first time that the engine was loaded.
        later_load_ns: the median of the later ones.
        memory_bytes: the peak resident memory of the process, the largest block.
        load: processes per core that wanted to run, before a block; the median.
    """

    batch: int
    threads: int
    calls: int
    blocks: int
    median_ns: float
    percentiles_ns: dict[str, Estimate]
    throughput: Estimate
    steady: float
    mismatches: int
    first_load_ns: int
    later_load_ns: int
    memory_bytes: int
    measured_at: str
    load: float | None = None


@dataclass(frozen=True)
class CandidateResult:
    """One engine of a target.

    Attributes:
        name: the precision, or `teacher` for the baseline.
        validation_score: what the choice was made on.
        validation_drop: how much worse than the float candidate on the validation split.
        test_score: the score on the test split.
        speedup: over the baseline.
        failure: how it crashed, hung or answered otherwise while it was timed; else empty.
    """

    name: str
    digest: str
    size_bytes: int
    validation_score: float | None = None
    validation_drop: Estimate | None = None
    test_score: float | None = None
    speedup: Estimate | None = None
    latency: LatencyResult | None = None
    failure: str = ""


@dataclass(frozen=True)
class TargetResult:
    """All candidates of a target, the one that ships, and why.

    Attributes:
        verify: here or elsewhere.
        shipped: the precisions that ship: one, where the recipe left the choice to measurements.
        would_choose: what would be chosen on this device, where that is something else.
        selected_on: of a release that is verified, the device on which what ships was chosen.
        reasons: for each candidate of a choice, why it ships or does not.
    """

    target: str
    runtime: str
    verify: str
    candidates: tuple[CandidateResult, ...]
    baseline: CandidateResult | None
    shipped: tuple[str, ...]
    would_choose: tuple[str, ...] | None
    reasons: dict[str, str]
    selected_on: str | None = None
