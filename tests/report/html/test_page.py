"""The HTML report: what stands on it, that it needs nothing else, that it can be read by all."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from itertools import product
from xml.etree.ElementTree import Element

import pytest

from edgestill.report.html import render
from edgestill.report.model import Report
from edgestill.verdict import Verdict
from edgestill.verify.results import GateResult

Page = Callable[[Report], Element]
REPORTS = ("passing", "loaded", "crashed", "elsewhere", "failing", "verification", "regression")
STYLE = files("edgestill.report.html").joinpath("style.css").read_text("utf-8")


def words(element: Element | None) -> str:
    assert element is not None
    return re.sub(r"\s+", " ", " ".join(element.itertext())).strip()


def section(page: Element, anchor: str) -> Element:
    found = page.find(f".//section[@id='{anchor}']")
    assert found is not None, anchor
    return found


def anchors(page: Element) -> list[str]:
    return [found.get("id", "") for found in page.findall(".//main/section")]


@pytest.mark.parametrize("name", REPORTS)
def test_the_verdict_comes_first(name: str, request: pytest.FixtureRequest, page: Page) -> None:
    report = request.getfixturevalue(name)
    document = page(report)
    header = document.find("body/header")
    assert document.findtext("head/title") == f"{report.verdict} digits, edgestill"
    assert header is document.findall("body/*")[0]
    assert words(header.find("p[@class='verdict']")).startswith(f"{report.verdict} ")
    assert header.get("class") == report.verdict.name.lower().replace("_", "-")


@pytest.mark.parametrize("name", REPORTS)
def test_it_needs_no_network_and_no_script(name: str, request: pytest.FixtureRequest) -> None:
    text = render(request.getfixturevalue(name))
    for forbidden in ("<script", "<link", "src=", "http:", "https:", "url(", "@import", "//"):
        assert forbidden not in text, forbidden
    assert len(text.encode()) < 120_000


@pytest.mark.parametrize("name", REPORTS)
def test_every_link_leads_to_a_section_that_is_there(
    name: str, request: pytest.FixtureRequest, page: Page
) -> None:
    document = page(request.getfixturevalue(name))
    links = [link.get("href", "") for link in document.findall("body/nav/a")]
    assert links == [f"#{anchor}" for anchor in anchors(document)]


def test_the_sections_of_a_run_in_their_order(passing: Report, page: Page) -> None:
    assert anchors(page(passing)) == [
        "gates", "notes", "accuracy-and-latency", "targets", "where-it-was-lost",
        "quantization", "time-of-a-call",
        "size-memory-and-loading", "models", "device-and-versions", "steps", "how-to-get-it-again",
    ]  # fmt: skip


def test_a_section_without_content_is_left_out(regression: Report, page: Page) -> None:
    assert anchors(page(replace(regression, notes=(), steps=()))) == [
        "where-it-was-lost", "models", "device-and-versions", "how-to-get-it-again",
    ]  # fmt: skip


def test_what_ships_is_seen_at_once(elsewhere: Report, page: Page) -> None:
    cards = page(elsewhere).findall("body/header//section")
    assert [words(card) for card in cards] == [
        "openvino int8 ships accuracy 95.97% p95 66.1 µs [60.6, 77.1] speedup 20.4x [19.8, 21.1] "
        "size 41.2 kB teacher 1.73 MB",
        "tensorrt-rtx compiled, not run here fp16 95 kB",
    ]


def test_the_worst_gate_is_on_top(failing: Report, page: Page) -> None:
    rows = section(page(failing), "gates").findall(".//tbody/tr")
    assert [words(row.find("td")) for row in rows] == [
        "FAIL", "INCONCLUSIVE", "NOT RUN", "PASS", "PASS", "PASS",
    ]  # fmt: skip
    assert words(rows[0]) == (
        "FAIL speedup openvino int8 speedup over teacher ≥ 30x (batch 1) "
        "20.40x [19.80x, 21.10x], n = 12 pairs of blocks"
    )


def test_what_failed_stands_on_top_of_the_notes(crashed: Report, page: Page) -> None:
    notes = section(page(crashed), "notes").findall("ul/li")
    assert words(notes[0]).startswith("openvino int8 failed: openvino: the worker ended")
    assert words(notes[1]) == "the teacher came trained and may have seen the validation data"


def test_every_figure_stands_with_what_it_rests_on(passing: Report, page: Page) -> None:
    rows = section(page(passing), "targets").findall(".//tbody/tr")
    assert words(rows[1]) == (
        "int8 ships 41.2 kB 95.97% 0.56pp [-0.61, 1.73] 55.1 µs [54.0, 56.8] "
        "66.1 µs [60.6, 77.1] 20.4x [19.8, 21.1]"
    )


def test_a_drop_that_is_no_chance_is_drawn_as_one(passing: Report, page: Page) -> None:
    rows = section(page(passing), "where-it-was-lost").findall(".//tbody/tr")
    drawn = [row.find("td[@class='drawn']/svg/g") for row in rows]
    classes = [None if group is None else group.get("class") for group in drawn]
    assert classes == [None, "worse", "same", "same", "same", "same"]
    # The axis goes from -0.53pp to 3.04pp with room on both sides; 1.87pp lies at its share of it.
    reach = 0.06 * (0.0304 + 0.0053)
    low, high = -0.0053 - reach, 0.0304 + reach
    dot = rows[1].find("td[@class='drawn']/svg/g/circle")
    assert dot is not None
    expected = 2 + 136 * (0.0187 - low) / (high - low)
    assert float(dot.get("cx", "")) == pytest.approx(expected, abs=0.1)


def test_the_way_keeps_its_indentation(passing: Report, page: Page) -> None:
    heads = section(page(passing), "where-it-was-lost").findall(".//tbody/tr/th")
    depths = [head.get("style", "--depth:0") for head in heads]
    assert depths == [f"--depth:{depth}" for depth in (0, 1, 2, 3, 4, 1)]


def test_bars_are_as_long_as_their_values(passing: Report, page: Page) -> None:
    rows = section(page(passing), "size-memory-and-loading").findall(".//tbody/tr")
    shares = [row.findall(".//div[@class='bar']")[0].get("style") for row in rows]
    # 110.3 kB and 41.2 kB of 1.73 MB.
    assert shares == ["--share:6.4%", "--share:2.4%", "--share:100.0%"]


def test_the_error_of_each_layer_is_drawn(passing: Report, page: Page) -> None:
    found = section(page(passing), "quantization")
    rows = [words(row) for row in found.findall(".//tbody/tr")]
    assert rows == ["body.0.0 Conv 1.2%", "body.1.0 Conv 3%", "head Gemm 2.4%"]
    shares = [bar.get("style") for bar in found.findall(".//div[@class='bar']")]
    assert shares == ["--share:40.0%", "--share:100.0%", "--share:80.0%"]


def test_how_to_get_it_again(passing: Report, verification: Report, page: Page) -> None:
    commands = [words(c) for c in section(page(passing), "how-to-get-it-again").iter("code")]
    assert commands == ["edgestill run recipe.yaml", "edgestill verify RELEASE"]
    commands = [words(c) for c in section(page(verification), "how-to-get-it-again").iter("code")]
    assert commands == ["edgestill verify RELEASE"]


def test_device_versions_and_digests(passing: Report, page: Page) -> None:
    text = words(section(page(passing), "device-and-versions"))
    assert "Libraries torch 2.13.0, openvino 2026.4.1" in text
    assert "Device: cpu Some CPU @ 2 GHz" in text
    assert f"openvino int8 {'b' * 64}" in text


def test_any_text_of_a_report_is_shown_as_it_is(passing: Report, page: Page) -> None:
    nasty = "</style><script>alert(1)</script><b>&amp;'\"\x00\x1b]]>"
    shown = nasty.replace("\x00", "\\x00").replace("\x1b", "\\x1b")
    (target,) = passing.targets
    gate = GateResult(nasty, nasty, Verdict.FAIL, nasty, nasty, nasty)
    renamed = replace(target.candidates[1], name=nasty)
    report = replace(
        passing,
        name=nasty,
        metric=nasty,
        gates=(gate,),
        notes=(nasty,),
        targets=(replace(target, target=nasty, runtime=nasty, candidates=(renamed,)),),
        hops=(replace(passing.hops[0], name=nasty),),
        device={nasty: nasty},
        versions={nasty: nasty},
    )
    assert "<script" not in render(report)
    document = page(report)
    assert document.findtext("body/header/h1") == shown
    row = section(document, "gates").find(".//tbody/tr")
    assert row is not None and row.findtext("th") == shown
    assert {element.tag for element in document.iter()} == {
        element.tag for element in page(passing).iter()
    } | {"p"}


@pytest.mark.parametrize("name", REPORTS)
def test_who_does_not_see_it_can_read_it(
    name: str, request: pytest.FixtureRequest, page: Page
) -> None:
    document = page(request.getfixturevalue(name))
    assert document.get("lang") == "en"
    levels = [int(found.tag[1]) for found in document.iter() if re.fullmatch("h[1-6]", found.tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    for drawing in document.iter("svg"):
        assert drawing.get("aria-hidden") == "true" or drawing.get("aria-label")
    for table in document.iter("table"):
        heads = table.findall("thead/tr/th")
        assert heads and all(head.get("scope") == "col" for head in heads)
        for row in table.findall("tbody/tr"):
            assert len(row.findall("th[@scope='row']")) == 1
            assert len(list(row)) == len(list(table.findall("thead/tr/*")))


def colours(style: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", style))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_black_on_white_has_the_largest_contrast() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(theme: str) -> None:
    light, _, dark = STYLE.partition("prefers-color-scheme: dark")
    found = colours(light) if theme == "light" else colours(dark)
    pairs = [
        *product(("ink", "quiet", "fp32", "fp16", "int8", "teacher", "other"), ("ground",)),
        *product(("ink", "quiet"), ("surface", "fail-wash")),
        *((v, f"{v}-wash") for v in ("pass", "fail", "inconclusive", "not-run")),
        ("fail", "ground"),
        ("ink", "not-run-wash"),
    ]
    weak = {pair: contrast(found[pair[0]], found[pair[1]]) for pair in pairs}
    assert {pair: round(ratio, 2) for pair, ratio in weak.items() if ratio < 4.5} == {}
