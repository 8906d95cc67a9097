"""Gates on what is counted: bytes on the disk and in memory."""

from __future__ import annotations

from edgestill.quantities import count_text, size_text
from edgestill.verdict import Decision, Verdict, exactly
from edgestill.verify.config import MemoryGate, SizeGate
from edgestill.verify.gates.finding import NOT_MEASURED, Finding, Subject


def size(subject: Subject, name: str, gate: SizeGate) -> Finding:
    shipped = subject.candidate.engine.size_bytes
    decision = Decision.of("bytes", exactly(shipped), at_most=gate.at_most)
    return Finding.of(decision, f"{name} <= {size_text(gate.at_most)}", size_text(shipped))


def memory(subject: Subject, name: str, gate: MemoryGate) -> Finding:
    batch = next(iter(subject.evidence.rounds), 1)  # the one that choices are made on
    budget = f"{name} <= {size_text(gate.at_most)} (batch {batch})"
    blocks = subject.evidence.blocks(subject.candidate.name, batch)
    if not blocks:
        return Finding(Verdict.INCONCLUSIVE, budget, *NOT_MEASURED)
    peak = max(block.peak_rss_bytes for block in blocks)
    found = f"{size_text(peak)} peak of {count_text(len(blocks), 'process', 'processes')}"
    decision = Decision.of("bytes", exactly(peak, len(blocks)), at_most=gate.at_most)
    return Finding.of(decision, budget, found)
