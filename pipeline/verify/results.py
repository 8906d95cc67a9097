"""What a verification found, as plain frozen data that is written to JSON as it is."""

from __future__ import annotations

from dataclasses import dataclass

from edgestill.departures.result import Departure
from edgestill.targets.blocks import Trial
from edgestill.verdict import Decision, Estimate, Interval, Verdict

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
        open_at: the batch size or load of a budget that more rounds may decide, in words; else
            empty.
        decision: the same in numbers; None where nothing was measured that the budget is on.
    """

    gate: str
    target: str
    verdict: Verdict
    budget: str
    found: str
    advice: str = ""
    open_at: str = ""
    decision: Decision | None = None

    @property
    def withheld(self) -> bool:
        """Whether it had to run and did not, unlike the gates of a target on another machine."""
        return self.verdict is Verdict.NOT_RUN and self.gate != EVERY_GATE


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
class SpeedChange:
    """The device had two speeds while a series was measured.

    Attributes:
        block: the first one at the later speed, counted from 0.
        before_ns: the median of the block medians before it.
        after_ns: from it on.
    """

    block: int
    before_ns: float
    after_ns: float


@dataclass(frozen=True)
class Conditions:
    """The state of the machine over the blocks of a candidate; None is what it does not tell.

    Attributes:
        load: processes per core that wanted to run, before a block; the median.
        frequency_mhz: of the clock right after a block, the slowest and the fastest; of a GPU that
            engines run on, and so are the next two.
        temperature_c: right after a block, the coolest and the hottest.
        slowed_blocks: in how many it was slowed, for its temperature or its power.
        held_blocks: in how many the control groups held the processes back.
        held_ns: for how long, in all of them.
        speed_change: where the device changed its speed; None where it kept it.
    """

    load: float | None = None
    frequency_mhz: tuple[float, float] | None = None
    temperature_c: tuple[float, float] | None = None
    slowed_blocks: int | None = None
    held_blocks: int | None = None
    held_ns: int | None = None
    speed_change: SpeedChange | None = None


@dataclass(frozen=True)
class EnergyResult:
    """What the device used while a candidate was served, whoever else used it then.

    Attributes:
        source: what was metered, in words.
        per_sample_j: joules for each sample.
        watts: the mean power.
    """

    source: str
    per_sample_j: Estimate
    watts: float


@dataclass(frozen=True)
class Histogram:
    """How many calls took how long: bins of one width on a logarithmic scale.

    Attributes:
        low_ns: where the first bin begins, the fastest call.
        high_ns: where the last bin ends, the slowest call.
        counts: calls of each bin.
    """

    low_ns: float
    high_ns: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class BlockResult:
    """One block of a measurement, a process of its own, and what the machine was like.

    Attributes:
        started: ISO 8601, UTC.
        p10_ns: a tenth of its calls were as fast.
        p90_ns: nine tenths of its calls were as fast.
        steady: whether its warm-up settled.
        load: processes per core that wanted to run, before it.
        frequency_mhz: of the clock, after it, as `temperature_c` is.
    """

    started: str
    calls: int
    p10_ns: float
    median_ns: float
    p90_ns: float
    steady: bool
    load: float | None
    frequency_mhz: float | None
    temperature_c: float | None


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
        looks: how often the series was looked at, until every gate was decided or time was up.
        noise_floor: the smallest change that so many blocks can tell from none, as a share.
        energy: None where no counter can be read, or blocks are too short for it.
        histogram: of all calls.
        series: each block, in the order in which they ran.
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
    looks: int = 1
    noise_floor: float | None = None
    conditions: Conditions = Conditions()
    energy: EnergyResult | None = None
    histogram: Histogram | None = None
    series: tuple[BlockResult, ...] = ()


@dataclass(frozen=True)
class OfflineResult:
    """How many samples a second are served where all of them are there from the start.

    Attributes:
        batch: samples of one call, as the search found it best.
        streams: calls at once, as the search found it best.
        trials: what the search tried.
        calls: how many the throughput rests on.
        steady: the share of blocks whose warm-up settled.
    """

    batch: int
    streams: int
    threads: int
    throughput: Estimate
    trials: tuple[Trial, ...]
    calls: int
    blocks: int
    steady: float
    memory_bytes: int
    conditions: Conditions = Conditions()
    energy: EnergyResult | None = None


@dataclass(frozen=True)
class PacedResult:
    """The time of a request from its arrival to its answer, where they arrive at a rate.

    Attributes:
        rate: requests a second; they arrive at random times (a Poisson process).
        capacity: requests a second that could be served, one after the other.
        overloaded: whether more arrive than can be served, so that the queue grows without end and
            no latency is typical; None where that is not certain, or where its blocks are so short
            that the queue grows in all of them.
        percentiles_ns: percentile -> estimate; only those that the sample count supports, and none
            where the device is, or may be, overloaded.
        service_ns: the median of the calls themselves, without the time in the queue.
        steady: the share of blocks whose warm-up settled.
        unserved: requests that were given up since the queue had grown too long.
    """

    batch: int
    threads: int
    rate: float
    capacity: Estimate
    overloaded: bool | None
    percentiles_ns: dict[str, Estimate]
    service_ns: float
    calls: int
    blocks: int
    steady: float
    unserved: int
    conditions: Conditions = Conditions()
    energy: EnergyResult | None = None


@dataclass(frozen=True)
class CandidateResult:
    """One engine of a target.

    Attributes:
        name: the precision, or `teacher` for the baseline.
        validation_score: what the choice was made on.
        validation_drop: how much worse than the float candidate on the validation split.
        test_score: the score on the test split.
        test_interval: of that score, where the metric is a mean over samples.
        speedup: over the baseline.
        offline: where a gate asks for it.
        paced: for each rate that a gate asks for.
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
    test_interval: Interval | None = None
    offline: OfflineResult | None = None
    paced: tuple[PacedResult, ...] = ()
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
