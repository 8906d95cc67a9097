"""The HTML report in a real browser, on a phone and on a desk."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgestill.report.html import render

REPORTS = (
    "passing",
    "loaded",
    "crashed",
    "elsewhere",
    "failing",
    "verification",
    "regression",
    "spread",
)
WIDTHS = (360, 1280)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# Each page in a frame of its own, since a window cannot be as narrow as a phone; a script beside
# them looks at what is laid out.
PROBE = """<!doctype html><meta charset="utf-8">%s<pre id="found"></pre><script>
function seen(element) { return element.getClientRects().length > 0; }
function box(element) { return element.getBoundingClientRect(); }
function beyond(page, width) {
  return [...page.querySelectorAll("body *")].filter(
    e => seen(e) && !e.closest(".scroll") && (box(e).right > width + 0.5 || box(e).left < -0.5)
  ).map(e => e.outerHTML.slice(0, 80));
}
function cut(page) {
  return [...page.querySelectorAll("svg text")].filter(e => {
    const a = box(e), b = box(e.closest("svg"));
    return seen(e) && (a.left < b.left - 1 || a.right > b.right + 1 || a.bottom > b.bottom + 2);
  }).map(e => e.textContent);
}
function touching(page) {
  const found = [];
  for (const svg of page.querySelectorAll("svg")) {
    const words = [...svg.querySelectorAll("text")].filter(seen);
    words.forEach((one, i) => words.slice(i + 1).forEach(other => {
      const a = box(one), b = box(other);
      if (a.left < b.right && b.left < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom)
        found.push(one.textContent + " | " + other.textContent);
    }));
  }
  return found;
}
function smallest(page) {
  return Math.min(99, ...[...page.querySelectorAll("svg text")].filter(seen).map(
    e => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a
  ));
}
addEventListener("load", () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, root = page.documentElement, width = frame.clientWidth;
    found[frame.id] = {
      width: root.scrollWidth,
      beyond: beyond(page, width),
      cut: cut(page),
      touching: touching(page),
      smallest: smallest(page),
      text: page.body.innerText.slice(0, 300),
      drawings: [...page.querySelectorAll(".wide svg, .narrow svg")].filter(seen).map(
        e => e.closest("div").className + " " + Math.round(box(e).width)
      ),
    };
  }
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>"""


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, str]]:
    """Opens a file without a window; gives standard output and what the page complained of."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("there is no browser here: install chromium, such as apt-get install chromium")
    home = tmp_path_factory.mktemp("browser")

    def open_page(file: Path, *options: str) -> tuple[str, str]:
        command = [
            found, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={home}", "--allow-file-access-from-files", "--enable-logging=stderr",
            "--virtual-time-budget=2000", *options, file.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout, "\n".join(re.findall(r".*:CONSOLE[:(].*", done.stderr))

    return open_page


@pytest.fixture
def looked_at(
    browser: Callable[..., tuple[str, str]],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> dict[str, dict[str, Any]]:
    """What the browser made of every report at both widths, as `name-width`."""
    frames = []
    for name in REPORTS:
        (tmp_path / f"{name}.html").write_text(render(request.getfixturevalue(name)), "utf-8")
        frames += [
            f'<iframe id="{name}-{width}" src="{name}.html" width="{width}" height="900"></iframe>'
            for width in WIDTHS
        ]
    (tmp_path / "probe.html").write_text(PROBE % "".join(frames), "utf-8")
    text, complaints = browser(tmp_path / "probe.html", "--dump-dom")
    assert complaints == ""
    measured = re.search(r'<pre id="found">(.*?)</pre>', text, re.DOTALL)
    assert measured and measured[1], text[-2000:]
    found: dict[str, dict[str, Any]] = json.loads(html.unescape(measured[1]))
    return found


def test_pages_fit_a_phone_and_a_desk(looked_at: dict[str, dict[str, Any]]) -> None:
    assert set(looked_at) == {f"{name}-{width}" for name in REPORTS for width in WIDTHS}
    for name, found in looked_at.items():
        width = int(name.rpartition("-")[2])
        assert found["width"] == width, name
        assert found["beyond"] == [], name
        assert found["cut"] == [], name
        assert found["touching"] == [], name
        assert found["smallest"] >= 9, name
        drawn = {kind.split()[0] for kind in found["drawings"]}
        assert drawn <= {"narrow" if width == 360 else "wide"}, name
    assert "FAIL" in looked_at["failing-360"]["text"]
    assert looked_at["passing-1280"]["drawings"] == ["wide 1080", "wide 524", "wide 524"]


def pixels(file: Path) -> Any:
    image = pytest.importorskip("PIL.Image", reason="pillow reads the screenshots")
    return image.open(file).convert("RGB")


def near(pixel: tuple[int, int, int], colour: str) -> bool:
    wanted = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return all(abs(one - other) <= 2 for one, other in zip(pixel, wanted, strict=True))


@pytest.mark.parametrize(
    ("name", "theme", "ground", "verdict"),
    [
        ("passing", (), "#fbfbf9", "#17734a"),
        ("failing", (), "#fbfbf9", "#b9291f"),
        ("failing", ("--force-dark-mode",), "#14171a", "#ff8f85"),
    ],
)
def test_a_screenshot_shows_the_verdicts_colour_beside_it(
    name: str,
    theme: tuple[str, ...],
    ground: str,
    verdict: str,
    browser: Callable[..., tuple[str, str]],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    page, shot = tmp_path / "page.html", tmp_path / "shot.png"
    page.write_text(render(request.getfixturevalue(name)), "utf-8")
    _, complaints = browser(page, f"--screenshot={shot}", "--window-size=1280,900", *theme)
    assert complaints == ""
    image = pixels(shot)
    assert image.size == (1280, 900)
    assert near(image.getpixel((5, 5)), ground)
    # The page is 1120 wide with 20 of room: there the verdict's stripe begins.
    assert near(image.getpixel((102, 60)), verdict)
    assert len(image.getcolors(1 << 20)) > 200, "text and drawings, not a blank page"
