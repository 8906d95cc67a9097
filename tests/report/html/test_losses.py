"""Where it was lost, in HTML: classes, samples, and the layer at which a hop departs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree.ElementTree import Element

import pytest

from edgestill.report.model import Report

Page = Callable[[Report], Element]


@pytest.fixture
def lost(loaded: Report, page: Page) -> Element:
    found = page(loaded).find(".//section[@id='where-it-was-lost']")
    assert found is not None
    return found


def table(section: Element, title: str) -> list[Element]:
    """The rows of the table of this name."""
    return section.findall(f".//div[@aria-label='{title}']/table/tbody/tr")


def test_a_class_that_surely_dropped_is_drawn_as_one(lost: Element) -> None:
    surely, perhaps = table(lost, "Classes that lost most: openvino int8")
    drawn = [row.find("td[@class='drawn']/svg/g") for row in (surely, perhaps)]
    assert [g is not None and g.get("class") for g in drawn] == ["worse", "same"]
    ends = [row.find("td[@class='drawn']/svg/g/line") for row in (surely, perhaps)]
    zero = surely.find("td[@class='drawn']/svg/line")
    assert zero is not None and ends[0] is not None and ends[1] is not None
    assert float(ends[0].get("x1", "")) > float(zero.get("x1", "")) > float(ends[1].get("x1", ""))


def test_lost_samples_are_there_and_folded(lost: Element) -> None:
    (folded,) = lost.findall("details")
    assert folded.get("open") is None
    assert folded.findtext("summary") == "Samples that were lost: openvino int8"
    rows = table(folded, "Samples that were lost: openvino int8")
    assert len(rows) == 20
    assert [cell.text for cell in rows[1]] == ["17", f"{1:016x}", "3", "3", "5"]
    assert "The first 20 of 25." in " ".join(folded.itertext())


def test_the_layer_at_which_a_hop_departs_is_drawn_from_what_it_reads(lost: Element) -> None:
    (row,) = table(lost, "Layers that depart")
    texts = [cell.text for cell in row if cell.get("class") != "drawn"]
    assert texts == ["int8 cpu onnx", "body.7", "0.30%", "41%", "40%", "1.0%", "50 layers"]
    reads, gives = row.findall("td[@class='drawn']/svg/g/circle")
    typical = row.find("td[@class='drawn']/svg/line")
    assert typical is not None
    places = [float(reads.get("cx", "")), float(typical.get("x1", "")), float(gives.get("cx", ""))]
    assert places == sorted(places)
    # On a logarithmic axis: 0.3 % to 1 % is about a quarter of 0.3 % to 41 %.
    assert (places[1] - places[0]) / (places[2] - places[0]) == pytest.approx(0.245, abs=0.02)


def test_an_error_that_is_none_has_its_place_too(loaded: Report, page: Page) -> None:
    hops = tuple(
        replace(hop, departure=replace(hop.departure, before=0.0, typical=None, own=None))
        if hop.departure
        else hop
        for hop in loaded.hops
    )
    section = page(replace(loaded, hops=hops)).find(".//section[@id='where-it-was-lost']")
    assert section is not None
    (row,) = table(section, "Layers that depart")
    assert row.find("td[@class='drawn']/svg/line") is None
    reads, gives = row.findall("td[@class='drawn']/svg/g/circle")
    assert float(reads.get("cx", "")) < float(gives.get("cx", ""))


def test_a_report_without_losses_has_none_of_it(passing: Report, page: Page) -> None:
    section = page(passing).find(".//section[@id='where-it-was-lost']")
    assert section is not None
    assert not re.search("depart|Classes|Samples", " ".join(section.itertext()))
