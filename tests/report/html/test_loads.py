"""Loads in HTML: what was served, how busy the device is, and what the search tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from xml.etree.ElementTree import Element

import pytest

from edgestill.report.model import Report

Page = Callable[[Report], Element]
DRAWN = ".//figure/div[@class='wide']/svg"


@pytest.fixture
def under_load(loaded: Report, page: Page) -> Element:
    found = page(loaded).find(".//section[@id='under-load']")
    assert found is not None
    return found


def rows(section: Element, title: str) -> list[Element]:
    return section.findall(f".//div[@aria-label='{title}']/table/tbody/tr")


def test_every_engine_that_was_measured_offline_has_its_row(under_load: Element) -> None:
    found = rows(under_load, "Throughput")
    assert [row.findtext("th") for row in found] == ["openvino fp32", "openvino int8"]


def test_a_device_is_as_busy_as_its_bar_is_long(under_load: Element) -> None:
    first, second = rows(under_load, "Latency at a rate")
    assert first.findtext("th") == "openvino int8 at 100/s"
    bars = [row.find("td[@class='drawn']/div") for row in (first, second)]
    assert [bar is not None and bar.get("style") for bar in bars] == [
        "--share:25.0%", "--share:100.0%",
    ]  # fmt: skip


def test_the_search_is_drawn_with_what_was_chosen(under_load: Element) -> None:
    fp32, int8 = under_load.findall(f"{DRAWN}/g[@class]")
    assert (fp32.get("class"), int8.get("class")) == ("tone-fp32", "tone-int8")
    assert (len(fp32.findall("polyline")), len(int8.findall("polyline"))) == (1, 2)
    chosen = [mark.findtext("title") for mark in int8 if mark.get("class") == "dot filled"]
    assert chosen == ["int8, batch 16 in 2 streams: 62680 samples/s"]
    # Another number of streams has another shape.
    assert {mark.tag for mark in int8 if mark.get("class", "").startswith("dot")} == {
        "circle", "polygon",
    }  # fmt: skip
    (drawing,) = under_load.findall(DRAWN)
    assert drawing.get("aria-label") == (
        "Search for the throughput of openvino: fp32 best at batch 4 in 1 stream; "
        "int8 best at batch 16 in 2 streams"
    )


def test_a_trial_that_failed_has_no_mark(loaded: Report, page: Page) -> None:
    (target,) = loaded.targets
    _, int8 = target.candidates
    assert int8.offline is not None

    def drawn(count: int) -> list[Element]:
        assert int8.offline is not None
        trials = tuple(
            replace(trial, per_second=0.0, failure="signal 9") if index < count else trial
            for index, trial in enumerate(int8.offline.trials)
        )
        engine = replace(int8, offline=replace(int8.offline, trials=trials))
        report = replace(loaded, targets=(replace(target, candidates=(engine,)),))
        return page(report).findall(f".//section[@id='under-load']{DRAWN[1:]}//title")

    assert len(drawn(1)) == len(int8.offline.trials) - 1
    assert drawn(len(int8.offline.trials)) == []


def test_without_a_load_there_is_no_section(passing: Report, page: Page) -> None:
    assert page(passing).find(".//section[@id='under-load']") is None
