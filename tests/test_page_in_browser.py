"""The page of a run in a real browser: controls do what they say, with mouse and keyboard, and everything is readable."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
from pages import write_run
from PIL import Image

from i2i.run.compare import compare, write_comparison
from i2i.run.report import write_report

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

# WCAG 2.2: the contrast of every text with the nearest color behind it; 4.5, or 3 for large letters
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, w, n) => {
    const v = c[n] / 255;
    return sum + w * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  }, 0);
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const front = rgba(node instanceof SVGElement ? style.fill : style.color);
    let back = [0, 0, 0, 0];
    for (let behind = node; behind && back[3] < 255; behind = behind.parentElement) back = rgba(getComputedStyle(behind).backgroundColor);
    const [one, other] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    count++;
    if (ratio < 4.5 || front[3] < 255) low.push(`${walker.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
  }
  return [count, low];
}"""
OVERFLOW = """() => [document.documentElement.scrollWidth,
  [...document.querySelectorAll("body *")].filter((node) => node.getBoundingClientRect().right > innerWidth + 1
    && node.checkVisibility() && !node.closest(".wide") && !node.closest("svg")).map((node) => node.outerHTML.slice(0, 80))]"""


class Watched:
    """A page with all that went wrong on it."""

    def __init__(self, context: Any, path: Path) -> None:
        self.trouble: list[str] = []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", self._request)
        self.url = path.as_uri()
        self.page.goto(self.url)

    def _request(self, request: Any) -> None:
        if request.url != self.url and not request.url.startswith("data:image/"):
            self.trouble.append(request.url)

    def shot(self, selector: str) -> np.ndarray:
        """The pixels of an element as they are on the screen, [H, W, 3]."""
        content = self.page.locator(selector).first.screenshot(animations="disabled")
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with 30 validation images, and of a second run beside it."""
    folder = tmp_path_factory.mktemp("runs")
    run, other = write_run(folder / "run", count=30), write_run(folder / "other")
    write_report(run, folder / "page.html", [other])
    return folder / "page.html"


@pytest.fixture
def watched(browser: Any, report: Path) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    opened = Watched(context, report)
    yield opened
    context.close()
    assert opened.trouble == []


def share(pixels: np.ndarray, color: tuple[int, int, int]) -> float:
    """The fraction of pixels that are near a color."""
    return float((np.abs(pixels - color).max(axis=2) < 30).mean())


RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def test_slider_over_a_picture_moves_from_before_to_after(watched: Watched) -> None:
    slider = watched.page.locator(".hero .split")
    stage = ".hero .stage"
    assert 0.4 < share(watched.shot(stage), RED) < 0.6
    slider.focus()
    watched.page.keyboard.press("End")  # all is before
    assert share(watched.shot(stage), RED) > 0.85
    for _ in range(30):
        watched.page.keyboard.press("ArrowLeft")
    assert slider.input_value() == "70"
    assert 0.6 < share(watched.shot(stage), RED) < 0.75
    assert slider.get_attribute("aria-valuetext") == "70 % input, 30 % output"
    box = slider.bounding_box()
    watched.page.mouse.click(box["x"] + 0.1 * box["width"], box["y"] + 20)
    assert share(watched.shot(stage), GREEN) > 0.8


def test_slider_through_training_time_shows_the_samples_of_each_step(watched: Watched) -> None:
    page = watched.page
    cell, step = page.locator('[data-cell="0,1"]'), page.locator("#step")
    greens = []
    step.focus()
    for key in ("End", "ArrowLeft", "Home"):
        page.keyboard.press(key)
        content = base64.b64decode(cell.get_attribute("src").partition(",")[2])
        greens.append(np.asarray(Image.open(io.BytesIO(content)))[9, 9, 1])
    assert np.abs(np.array(greens, float) - (200, 100, 0)).max() < 4
    assert page.locator("#step-text").inner_text() == "0 images"
    page.locator("#play").press("Enter")
    api.expect(page.locator("#step-text")).to_have_text("4,000 images")  # waits for it
    assert step.input_value() == "2"


def test_bar_of_the_histogram_shows_its_images_alone(watched: Watched) -> None:
    page = watched.page
    visible = lambda: [name.inner_text() for name in page.locator(".card:visible .name").all()]  # noqa: E731
    assert visible() == [f"p{n:03d}" for n in range(24)]  # worst first, the rest on demand
    page.locator("#more").press("Enter")
    assert len(visible()) == 30
    bar = page.locator("#bins button:enabled").last
    assert bar.get_attribute("aria-label") == "0.841 to 0.873: 2 images"
    bar.press("Enter")
    assert visible() == ["p028", "p029"]
    assert page.locator("#shown").inner_text() == "2 images from 0.841 to 0.873"
    assert bar.get_attribute("aria-pressed") == "true"
    bar.click()
    assert len(visible()) == 24
    page.locator("#order").select_option("best")
    assert visible()[0] == "p029"
    page.locator("#metric").select_option(label="PSNR, dB")
    assert (visible()[0], page.locator(".card .metric").first.inner_text()) == ("p000", "30.00")


def test_comparison_can_be_with_the_target(watched: Watched) -> None:
    watched.page.locator("#compare").select_option("output,target")
    pixels = watched.shot(".card .stage")
    assert 0.3 < share(pixels, GREEN) < 0.6
    assert 0.3 < share(pixels, BLUE) < 0.6
    assert share(pixels, RED) == 0
    assert watched.page.locator(".card .before").first.inner_text() == "output"


def test_curves_zoom_smooth_and_read_values_with_mouse_and_keyboard(watched: Watched) -> None:
    page = watched.page
    figure = page.locator(".charts figure", has_text="G/l1")
    svg, output, mean = figure.locator("svg"), figure.locator("output"), figure.locator(".mean")
    lengths = [len(mean.first.get_attribute("d") or "")]
    rough = mean.first.get_attribute("d")
    page.locator("#smoothing").fill("0")
    assert mean.first.get_attribute("d") != rough
    assert figure.locator(".raw").count() == 0
    svg.focus()
    page.keyboard.press("Home")
    assert output.inner_text().endswith("at 100")
    page.keyboard.press("ArrowRight")
    assert output.inner_text().startswith("-0.0373 · -0.0373 at 200")  # 10 / 200 + sin(200) / 10
    page.keyboard.press("+")
    assert page.locator("#to + output").inner_text() != "4,000"
    lengths.append(len(mean.first.get_attribute("d") or ""))
    assert lengths[1] < lengths[0]
    page.keyboard.press("Escape")
    assert page.locator("#to + output").inner_text() == "4,000"
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.5 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], middle, steps=3)
    page.mouse.up()
    start = int(page.locator("#from + output").inner_text().replace(",", ""))
    assert 1500 < start < 2100
    page.locator("#reset-zoom").press("Enter")
    assert page.locator("#from").input_value() == "0"
    assert mean.count() == 2
    page.get_by_label("other").uncheck()
    assert mean.count() == 1


def test_every_control_is_reached_with_the_tab_key_and_shows_its_focus(watched: Watched) -> None:
    page = watched.page
    wanted = page.locator(
        "input:visible, select:visible, button:visible:enabled, summary, svg[tabindex]"
    ).count()
    page.evaluate("window.reached = new Set(); window.bare = []")
    for _ in range(wanted + 20):
        page.keyboard.press("Tab")
        page.evaluate(
            """() => {
              const node = document.activeElement;
              if (!node.matches("input, select, button, summary, svg")) return;
              window.reached.add(node);
              const shown = node.closest(".stage") ?? node;
              if (getComputedStyle(shown).outlineStyle === "none") window.bare.push(node.outerHTML);
            }"""
        )
    assert page.evaluate("[window.reached.size, window.bare]") == [wanted, []]


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_readable_at_every_width_and_in_both_schemes(
    browser: Any, report: Path, width: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened = Watched(context, report)
    for details in opened.page.locator("summary").all():
        details.click()
    count, low = opened.page.evaluate(CONTRAST)
    assert count > 150
    assert low == []
    assert opened.page.evaluate(OVERFLOW) == [width, []]
    assert opened.trouble == []
    context.close()


def test_page_without_validation_and_its_print_have_no_faults(browser: Any, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", validated=False, sampled=False)
    write_report(run)
    context = browser.new_context(reduced_motion="reduce")
    opened = Watched(context, run / "report.html")
    opened.page.emulate_media(media="print")
    assert opened.page.locator("#curve-tools").is_hidden()
    assert opened.page.locator(".charts svg").count() == 7
    assert opened.trouble == []
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1400, "light")])
def test_page_of_a_comparison_is_readable_and_hides_the_runs_one_unchecks(
    browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    long = ("generator.name=resnet", f"data.root=/{'long' * 30}/photos")
    runs = [
        write_run(tmp_path / "a-run-with-a-long-name-that-says-all", protocol_hash="22222222"),
        write_run(tmp_path / "other", settings=long),
        write_run(tmp_path / "plain", validated=False, sampled=False),
    ]
    write_comparison(tmp_path / "page.html", compare(runs))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened = Watched(context, tmp_path / "page.html")
    assert opened.page.evaluate(CONTRAST)[1] == []
    assert opened.page.evaluate(OVERFLOW) == [width, []]
    names = opened.page.locator("#settings tbody th code")
    assert max(name.bounding_box()["height"] for name in names.all()) < 50  # in one line
    mean = opened.page.locator(".charts figure", has_text="G/l1").locator(".mean")
    assert mean.count() == 3
    opened.page.get_by_label("plain").uncheck()
    assert mean.count() == 2
    assert opened.trouble == []
    context.close()
