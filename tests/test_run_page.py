"""The page of a run: one file that needs no other, escapes every text, and survives what a run folder may hold."""

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import i2i as command
from jinja2 import TemplateError
from pages import HEALTH, SIDE, flat, write_lines, write_run, write_validation
from PIL import Image
from runs import COMMON, SMALL, draw_scenes

from i2i import config, images
from i2i.errors import I2IError
from i2i.report import pictures
from i2i.report.curves import MAX_POINTS, charts, thin
from i2i.report.pictures import MAX_CARDS, gallery, samples_over_time
from i2i.report.record import read_record
from i2i.report.run import write_run_page
from i2i.run.report import RunReport, write_report
from i2i.run.train import Request, train

EVIL = '<script>alert("1")</script>&'


class Page(HTMLParser):
    """Tags with their attributes, the text that is seen, and the data of the scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text("utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words, self.data, self._inside = "", "", ""
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = "data" if ("id", "data") in attrs else tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self.data += data
        elif self._inside not in ("script", "style"):
            self.words += data

    def values(self) -> dict[str, Any]:
        content = json.loads(self.data, parse_constant=lambda name: pytest.fail(name))
        assert isinstance(content, dict)
        return content

    def pictures(self) -> list[np.ndarray]:
        return [picture(a["src"] or "") for tag, a in self.tags if tag == "img"]


def picture(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def page_of(run: Path, **given: Any) -> Page:
    write_report(run, run / "page.html", **given)
    return Page(run / "page.html")


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_page_says_in_one_glance_what_the_run_is(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "seaside"))
    words = squeezed(page.words)
    for said in (
        "pix2pix · unet_256",
        "seaside",
        "0.533 SSIM , 95 % interval 0.513 – 0.553, best after 2,000 images".replace(" ,", ","),
        "Protocol 1a2b3c4d",
        "1 failure diagnosed: D wins",
        "4,000 of 4,000",
        "20.0 images/s",
        "The median: image 3 of 6 from worst to best",
        "skipped 3 files",
        "Resume with optim.lr_discriminator=5e-05",
    ):
        assert said in words, said
    assert "To try" not in words
    assert HEALTH.split(": ")[1] in words


def test_page_stands_alone_and_runs_nothing_but_its_own_script(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run"))
    assert not {"link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    loaded = re.findall(r"https?://[^\"'\s]+|@import|url\([^#]", page.text)
    assert set(loaded) == {"http://www.w3.org/2000/svg"}  # a name, which nothing fetches
    (policy,) = [a["content"] for _, a in page.tags if a.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not any("style" in a or any(name.startswith("on") for name in a) for _, a in page.tags)
    assert all(a["alt"] for tag, a in page.tags if tag == "img")


def test_page_shows_the_pictures_of_the_best_validation_and_the_samples_over_time(
    tmp_path: Path,
) -> None:
    page = page_of(write_run(tmp_path / "run"))
    colors = [tuple(int(v) for v in p[SIDE // 2, SIDE // 2]) for p in page.pictures()]
    assert max(abs(v - w) for v, w in zip(colors[0], (200, 0, 0), strict=True)) < 4  # input
    assert max(abs(v - w) for v, w in zip(colors[1], (0, 200, 0), strict=True)) < 4  # output
    samples = page.values()["samples"]
    assert samples["steps"] == [0, 2000, 4000]
    assert [len(set(column)) for column in samples["cells"][0]] == [1, 3, 1]  # only outputs change
    assert len(samples["uris"]) == 5
    greens = [picture(samples["uris"][n])[9, 9, 1] for n in samples["cells"][0][1]]
    assert np.abs(np.array(greens, float) - (0, 100, 200)).max() < 4


def test_page_escapes_every_text_of_the_files(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", settings=(f"data.root={EVIL}",))
    event = {"images": 3, "kind": EVIL, "text": EVIL}
    failure = {"images": 3, "kind": "health", "text": f"{EVIL}: {EVIL} To try: {EVIL}."}
    write_lines(run / "events.jsonl", [event, failure])
    write_lines(run / "metrics.jsonl", [{"images": 1, f"{EVIL}/x": 1.0}])
    scores = {EVIL: {EVIL: {"mean": 1, "low": 0, "high": 2}}}
    row = json.loads((run / "validation.jsonl").read_text().splitlines()[0]) | {"scores": scores}
    row |= {"metric": EVIL, "protocol_hash": EVIL, "protocol": {EVIL: EVIL}}
    write_lines(run / "validation.jsonl", [row])
    (run / "environment.json").write_text(json.dumps({EVIL: EVIL, "ended": EVIL}))
    page = page_of(run, title=EVIL, scores=[[EVIL, EVIL], [EVIL, EVIL]])
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert page.words.count(EVIL) > 15
    assert page.data.count("\\u003cscript>") == 2


def test_run_without_validation_or_samples_or_settings_has_a_page(tmp_path: Path) -> None:
    plain = write_run(tmp_path / "plain", validated=False, sampled=False)
    page = page_of(plain)
    assert "Not validated: set validate.every_images" in squeezed(page.words)
    assert page.pictures() == []
    sampled = page_of(write_run(tmp_path / "sampled", validated=False))
    assert "Sample after 4,000 images" in sampled.words
    (plain / "config.yaml").write_text("{")
    (plain / "metrics.jsonl").write_bytes(b"\xff\x00{\n")
    (plain / "validation.jsonl").write_text(
        '[]\nnull\n{"images": "x"}\n{"images": 1, "scores": 3}\n'
    )
    page = page_of(plain)
    assert "config.yaml: " in page.words
    assert "The settings cannot be compared with published ones" in page.words
    with pytest.raises(I2IError, match="holds no run"):
        write_report(tmp_path)


def test_values_that_are_not_finite_are_gaps_that_the_page_counts(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    odd = {"mean": math.nan, "low": -math.inf, "high": math.nan}
    row = json.loads((run / "validation.jsonl").read_text().splitlines()[0])
    row |= {"images": 3000, "best": True, "scores": {"a2b": {"ssim": odd}}}
    with open(run / "validation.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")
    scores = run / "validation" / "00002000" / "scores.csv"
    scores.write_text(scores.read_text().replace(",30,", ",inf,"))
    page = page_of(run)
    assert "G/gan: 1 value is not finite and left out." in page.words
    assert "SSIM: 1 value is not finite and left out." in page.words
    values = page.values()
    assert values["gallery"]["scores"][0][2] is None
    (gan,) = [chart for chart in values["charts"] if chart["title"] == "G/gan"]
    assert gan["series"][0]["y"][2] is None
    assert "–" in page.words


def test_long_curves_are_thinned_and_keep_their_peaks() -> None:
    points = [(n, float(n % 7)) for n in range(20_001)]
    points[12_345] = (12_345, 99.0)
    points[777] = (777, math.nan)
    kept = thin(points)
    assert len(kept) <= MAX_POINTS
    assert (12_345, 99.0) in kept
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert thin(points[:9]) == points[:9]


def test_curves_of_several_runs_are_in_one_chart(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in ("one", "other")]
    page = page_of(runs[0], others=[runs[1]])
    values = page.values()
    assert values["runs"] == ["one", "other"]
    assert all([s["run"] for s in chart["series"]] == [0, 1] for chart in values["charts"])
    groups = list(dict.fromkeys(chart["group"] for chart in values["charts"]))
    assert groups == ["Validation", "Losses", "Diagnostics", "Schedule and speed"]


def test_settings_that_are_not_published_are_listed_with_both_values(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", settings=("generator.name=resnet", "generator.width=32"))
    rows = re.findall(
        r"<tr><th scope=\"row\"><code>(.*?)</code>.*?<code>(.*?)</code>.*?<code>(.*?)</code>",
        page_of(run).text,
    )
    assert {key: (here, there) for key, here, there in rows} == {
        "data.crop_size": (str(SIDE), "256"),
        "generator.name": ("resnet", "unet_256"),
        "generator.width": ("32", "64"),  # 64 is that of resnet
        "train.total_images": ("4000", "200.0 epochs".replace(".0", "")),
        "train.batch": ("4", "1"),
    }


def test_more_images_than_a_page_can_hold_are_counted_and_the_worst_are_kept(
    tmp_path: Path,
) -> None:
    run = write_run(tmp_path / "run", validated=False)
    write_validation(run, 3 * MAX_CARDS // 2, 8, "h")
    images_shown = gallery(read_record(run))
    ranks = [card.rank for card in images_shown.cards]
    assert len(ranks) == MAX_CARDS
    assert ranks[:100] == list(range(100))
    assert ranks[-1] == 299
    assert images_shown.left_out.startswith("200 of 300 images are shown")
    page = page_of(run)
    assert "200 of 300 images are shown" in page.words
    assert len(page.values()["gallery"]["scores"]) == 300


def test_sample_sheets_of_another_form_are_shown_in_one_piece(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", validated=False, sampled=False)
    (run / "samples").mkdir()
    for name in ("00000004.png", "00000020.png", "zoom.png"):
        images.encode(flat((9, 9, 9), 77), run / "samples" / name, "PNG")
    (run / "samples" / "00000030.png").write_bytes(b"broken")
    samples = samples_over_time(read_record(run))
    assert samples.steps == [4, 20]  # neither what somebody put there, nor what is no picture
    assert (samples.sheet, samples.labels) == (True, ["sheet"])
    page_of(run)


def test_pictures_of_a_page_are_bounded_whatever_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MAX_BYTES", 500_000)
    run = write_run(tmp_path / "run", validated=False, sampled=False)
    (run / "samples").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    for step in range(20):
        noise[0, 0] = 12 * step
        images.encode(noise, run / "samples" / f"{step:08d}.png", "PNG")
    samples = samples_over_time(read_record(run))
    assert 400_000 < sum(map(len, samples.uris)) < 600_000
    assert (samples.steps[0], samples.steps[-1]) == (0, 19)
    assert samples.left_out == f"{len(samples.steps)} of 20 sheets, evenly spread."
    write_validation(run, 30, 128, "h")
    monkeypatch.setattr(pictures, "MAX_BYTES", 40_000)
    ranks = [card.rank for card in gallery(read_record(run)).cards]
    assert ranks == list(range(len(ranks)))  # the worst come first
    assert 3 < len(ranks) < 30


def test_names_in_a_table_of_scores_lead_nowhere_else(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    images.encode(flat((1, 2, 3)), run / "secret.input.png", "PNG")
    scores = run / "validation" / "00002000" / "scores.csv"
    scores.write_text(
        f"direction,name,ssim\na2b,../../../secret,0.1\n{run},secret,0.2\na2b,p000,0.3\n"
    )
    assert [card.score.name for card in gallery(read_record(run)).cards] == ["p000"]


def test_charts_of_a_run_without_rows_are_none(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", validated=False, sampled=False)
    (run / "metrics.jsonl").unlink()
    (run / "events.jsonl").unlink()
    record = read_record(run)
    assert charts([record]) == []
    write_run_page(run / "x.html", record)
    assert "Curves" not in Page(run / "x.html").words.replace("Curves and sliders", "")


def test_command_writes_the_page_of_a_run_and_refuses_what_is_none(tmp_path: Path) -> None:
    run, other = write_run(tmp_path / "run"), write_run(tmp_path / "other")
    streams, page = tmp_path / "streams", tmp_path / "page.html"
    assert command(streams, "report", run).out == f"{run / 'report.html'}\n"
    assert command(streams, "report", run).status == 0  # what was written before is replaced
    assert command(streams, "report", run, other).status == 2
    assert command(streams, "report", run, other, "--out", page).status == 0
    assert Page(page).values()["runs"] == ["run", "other"]
    again = command(streams, "report", run, "--out", page)
    assert (again.status, "exists" in again.err) == (2, True)
    missing = command(streams, "report", tmp_path / "nothing")
    assert "nothing: holds no run (there is no config.yaml)" in missing.err


def test_training_writes_the_page_at_every_validation_and_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, original = [], RunReport.write

    def write(self: RunReport, ended: str = "") -> None:
        original(self, ended)
        page = Page(self.folder / "report.html")
        writes.append((ended, len(page.values()["gallery"]["scores"]) > 0))

    monkeypatch.setattr(RunReport, "write", write)
    layers = [config.parse_override(text) for text in (*COMMON, *SMALL["pix2pix"][1])]
    length = {"train": {"total_images": 8}, "validate": {"every_images": 4}}
    data = {"data": {"root": str(draw_scenes(tmp_path, 10)["facades"])}}
    layers += [config.parse_override("discriminator.layers=1"), config.Layer("", length | data)]
    run = tmp_path / "run"
    train(Request("pix2pix", layers, str(run), device="cpu"))
    assert writes == [("", True), ("", True), ("finished", True)]
    record = json.loads((run / "environment.json").read_text())
    assert record["ended"] == "finished"
    assert record["seconds"] > 0
    assert record["parameters"].keys() == {"G", "D"}
    page = page_of(run)
    assert all(fact in page.words for fact in ("peak memory", "finished", "cpu, 1 threads"))
    assert "Too short to be diagnosed" in page.words


def test_page_that_cannot_be_rendered_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(folder: Path) -> None:
        raise TemplateError("no attribute")

    monkeypatch.setattr("i2i.run.report.write_report", broken)
    RunReport(tmp_path, {}).write()
    assert "report.html: not written (no attribute)" in capsys.readouterr().err
