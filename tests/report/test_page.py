"""The page: everything from the data escaped, nothing loaded, small whatever the number of images."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from cleanse.engine.run_directory import RunDirectory
from cleanse.report.charts import by_class
from cleanse.report.content import Attention, Look, RunContent
from cleanse.report.figures import data_address, histogram, stacked_bars
from cleanse.report.most_suspicious import judged_counts
from cleanse.report.page import make_page
from cleanse.report.pattern import SEE_REPORT
from cleanse.verdict import Verdict

EVIL = ("<script>alert(1)</script>", "\"quoted\" 'name' &amp;", "new\nline\u202e", "bytes\udcff", "$x^2$ {{ 7*7 }}")
RESULTS = {"sa": 0.9, "asr": 0.125, "none_sa": 0.95, "none_asr": 1.0, "seconds": 3.0, "seconds_simclr": 2.0,
           "recipe": EVIL[0], "attack": "BadNets", "data": "Digits", "tpr": 1.0, "fpr": 0.25}  # fmt: skip


class Tags(HTMLParser):
    """Every tag with its attributes, and what loads something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def content(n: int = 40, results: dict[str, object] = RESULTS) -> RunContent:
    label = torch.arange(n) % len(EVIL)
    new = torch.where(torch.arange(n) % 4 == 1, (label + 1) % len(EVIL), label)
    ids = [f"{EVIL[i % len(EVIL)]}/{i}" for i in range(n)]
    reasons = [EVIL[i % len(EVIL)] if i % 4 in (1, 2) else "" for i in range(n)]
    generator = torch.Generator().manual_seed(0)
    verdict = Verdict.from_labels(
        ids, label, new, torch.arange(n) % 4 == 2, torch.rand(n, generator=generator), reasons
    )
    images = {i: torch.full((3, 8, 8), i % 256, dtype=torch.uint8) for i in range(min(n, 100))}
    features = torch.randn(n, 6, generator=generator)
    role = (torch.arange(n) % 4 == 1).long()
    near = {i: [j for j in range(9) if j != i] for i in range(min(n, 4))} if n > 9 else {}
    saliency = torch.zeros(8, 8)
    saliency[7, 7], saliency[0, 0] = 1.0, 0.25
    corner = torch.zeros(8, 8, dtype=torch.bool)
    corner[6:, 6:] = True
    looks = [Look("No defense", saliency, 0), Look(EVIL[0], torch.zeros(8, 8), 1)]
    attention = [Attention(torch.zeros(3, 8, 8, dtype=torch.uint8), corner, 1, EVIL[2], looks)]
    return RunContent(
        RunDirectory(Path("runs") / EVIL[1]), results, f"a: '{EVIL[0]}'\nb: {EVIL[3]}", verdict, EVIL, features, role,
        ("clean", "poison", "cover"), images, near=near, attention=attention,
    )  # fmt: skip


@pytest.mark.parametrize("runs", [1, 2])
def test_hostile_names_stay_text(runs: int) -> None:
    page = make_page([content()] * runs)
    page.encode("utf-8")  # no half of a surrogate pair is left
    tags = Tags(page)
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & set(tags.names)
    assert not [a for a in tags.attributes if a[1].startswith("on")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e" not in page
    assert "new\\nline\\u202e" in page
    assert "bytes\\xff" in page
    assert "{{ 7*7 }}" in page


@pytest.mark.parametrize("runs", [1, 2])
def test_every_table_scrolls_within_a_box_of_its_own(runs: int) -> None:
    """A box is also that of the hidden words in it, which are placed and would widen the page from outside."""
    page = make_page([content()] * runs)
    assert page.count("<table") == len(re.findall(r'<div class="scroll[^>]*><table', page)) > 0
    assert re.search(r"\.scroll \{[^}]*overflow-x: auto;[^}]*position: relative;", page)


@pytest.mark.parametrize("runs", [1, 2])
def test_the_page_loads_nothing_and_is_well_marked_up(runs: int) -> None:
    tags = Tags(make_page([content()] * runs))
    for _, name, value in tags.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("#", "data:image/png;base64,")), value
    ids = [value for _, name, value in tags.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {v[1:] for _, name, v in tags.attributes if name == "href" and v.startswith("#")} <= set(ids)
    assert tags.names.count("caption") == tags.names.count("table")
    assert tags.names.count("h1") == 1
    for tag, needed in (("img", "alt"), ("th", "scope")):
        assert tags.names.count(tag) == sum(t == tag and a == needed and bool(v) for t, a, v in tags.attributes)
    levels = [int(name[1]) for name in tags.names if name in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    links = [v for t, name, v in tags.attributes if t == "a" and name == "href"]
    assert links[0] == "#main"
    assert ("html", "lang", "en") in tags.attributes


def test_neighbors_and_saliency_are_there_in_pictures_and_words() -> None:
    page = make_page([content()])
    assert page.count('class="near"') == 4
    assert page.count("of 8 neighbors have its label") == 4
    assert "Saliency of No defense: strongest at the lower right" in page
    assert "80 % of the saliency" in page
    assert "strongest at the nowhere" not in page
    without = make_page([replace(content(), near={}, attention=[], no_attention="it is <gone>.")])
    assert "This run has no embedding" in without
    assert "No saliency is shown: it is &lt;gone&gt;." in without
    assert "Where the classifiers look" not in make_page([content(results={"recipe": "kNN", "attack": None})])


def test_the_histogram_shows_the_threshold_where_there_is_one() -> None:
    parted = content()
    assert "The verdict is not a threshold on this score" in make_page([parted])
    score = torch.where(parted.verdict.kept, 0.0, 1.0) + parted.verdict.score / 4
    page = make_page([replace(parted, verdict=replace(parted.verdict, score=score))])
    assert "images are relabeled or dropped." in page
    assert ">threshold</text>" in page


def test_figures_are_in_per_cent_before_and_after_and_the_summary_counts() -> None:
    page = make_page([content()])
    for text in (">12.5<", ">95.0<", ">100.0<", "20 are kept, 10 relabeled and 10 dropped", "25.0 % of the clean"):
        assert text in page
    unknown = make_page([content(results={"recipe": "kNN", "attack": None})])
    assert "need a simulated attack" in unknown.replace("\n", " ")
    gone = make_page([replace(content(), images={}, attention=(), missing="there is no folder <b>x</b>")])
    assert "No images are shown: there is no folder &lt;b&gt;x&lt;/b&gt;" in gone
    assert "<img" not in gone


def test_what_a_figure_means_is_said_for_the_attacks_labels() -> None:
    own = {**RESULTS, "ra": 0.25}
    odd = replace(content(results={**own, "attack_labels": "random"}), directory=RunDirectory(Path("o<dd")))
    for page, asr in (
        (make_page([content(results={**own, "attack_labels": "next"})]), "classified as the class after their true"),
        (make_page([odd]), "<dd>test images wrong with the trigger, of those right without it; low is good</dd>"),
        (
            make_page([content(results={**own, "attack_labels": ["<b>"]})]),
            "<dd>triggered test images classified as the",
        ),
    ):
        assert asr in page
    assert "<dd>test images right with the trigger, of those right without it</dd>" in make_page([odd])
    mixed = make_page([content(results={**own, "attack_labels": "target | random"})])
    assert (
        "mean over the triggers, which are not measured alike (trigger 1: triggered test images classified as the "
        "target; trigger 2: test images wrong with the trigger, of those right without it); low is good</dd>"
    ) in mixed
    both = make_page([replace(odd, results=own, directory=RunDirectory(Path("usual"))), odd])
    assert "<dd>usual: triggered test images classified as their true class; o&lt;dd: test images right with" in both
    assert "<dd>clean test images classified as their true class</dd>" in both


def test_the_summary_in_words_is_shown_as_text(tmp_path: Path) -> None:
    words = "Of 40 images, 20 are kept.\n  class 'owl': 3 kept\nClass '<script>' stands out.\nHow \x1bsure it is.\n"
    (tmp_path / "summary.txt").write_bytes(words.encode() + b"\xff\n")
    run = replace(content(), directory=RunDirectory(tmp_path))
    assert run.words == ["Of 40 images, 20 are kept.", "Class '<script>' stands out.", "How \x1bsure it is.", "\udcff"]
    page = make_page([run])
    first = page.index("<p>Class &#39;&lt;script&gt;&#39; stands out.</p>")
    assert page.index("In words") < first < page.index('id="figures"')
    assert "<p>How \\x1bsure it is.</p>" in page
    assert "class &#39;owl&#39;" not in page  # the table has it
    assert content().words[0] == "Of 40 images, 20 are kept, 10 relabeled and 10 dropped."  # there is no file


def test_the_page_does_not_send_the_reader_to_itself(tmp_path: Path) -> None:
    (tmp_path / "summary.txt").write_text(f"Images share a pattern.{SEE_REPORT}\n")
    page = make_page([replace(content(), directory=RunDirectory(tmp_path))])
    assert "<p>Images share a pattern.</p>" in page


def test_the_gallery_says_that_it_draws_from_images_of_one_score() -> None:
    run = content()
    page = make_page([run])
    assert "The 24 with the highest scores; the pictures" in page
    same = replace(run.verdict, score=torch.where(torch.arange(40) < 36, 2.0, 0.0))
    page = make_page([replace(run, verdict=same)])
    assert "24 of the 36 images that share the highest score, evenly spaced in the order of the data" in page
    shown = [int(i) for i in re.findall(r'alt="Image [^"]*/(\d+), labeled', page)]
    assert (shown[0], shown[23]) == (0, 35)


def test_what_is_left_out_is_shown_however_suspicious_others_are() -> None:
    run = content(100)
    score = 2.0 * run.verdict.relabeled + run.verdict.dropped
    page = make_page([replace(run, verdict=replace(run.verdict, score=score))])
    suspicious, relabeled, dropped = re.findall(r'<ul class="gallery" aria-label="(.*?)</ul>', page, re.DOTALL)[:3]
    assert suspicious.startswith("Most suspicious")
    assert suspicious.count('class="what relabeled"') == 24
    assert relabeled.count('class="what relabeled"') == 1
    assert "1 of 25, besides those above: old label → new label." in page
    assert dropped.count('class="what dropped"') == 24
    assert "24 of 25, besides those above: these are left out of the cleansed set." in page
    few = content(40)
    page = make_page([replace(few, verdict=Verdict.keep_all(few.verdict.id, few.verdict.label))])
    assert "No image was relabeled." in page
    assert "No image was dropped." in page
    page = make_page([replace(few, verdict=replace(few.verdict, score=(~few.verdict.kept).float()))])
    assert "All relabeled images are among those above." in page
    assert "All dropped images are among those above." in page


def test_the_page_is_deterministic_and_small_with_many_images() -> None:
    assert make_page([content()]) == make_page([content()])
    page = make_page([content(50_000)])
    assert len(page.encode()) < 5_000_000
    assert "A random 3,000 of the 50,000 images" in page


@pytest.mark.parametrize("n", [0, 1])
def test_hardly_any_image(n: int) -> None:
    assert "</html>" in make_page([content(n)])


def test_charts_and_pictures_take_extremes() -> None:
    score, group = torch.tensor([float("inf"), 1, 1, -float("inf")]), torch.tensor([0, 1, 0, 0])
    assert histogram(score, group, ("a", "b"), 0.5).svg("s").startswith("<svg")
    bars = stacked_bars(torch.tensor([[1, 0]]), ["<b>"], ("a", "b")).svg("s")
    assert "&lt;b&gt;" in bars
    assert "<b>" not in bars
    assert data_address(torch.zeros(1, 500, 2, dtype=torch.uint8)).startswith("data:image/png;base64,")


WRAPPER = """<!DOCTYPE html><iframe id="f" src="report.html" style="width:{width}px;height:900px;border:0"></iframe>
<script>onload = () => {{
  const page = document.getElementById("f").contentDocument, wide = [], limit = {width};
  const scrolls = e => e && (e.matches(".scroll, pre, .hidden, .chart") || scrolls(e.parentElement));
  for (const e of page.body.querySelectorAll("*"))
    if (e.getBoundingClientRect().right > limit + 1 && !scrolls(e)) wide.push(e.outerHTML.slice(0, 80));
  const root = page.documentElement, images = [...page.images].every(i => i.complete && i.naturalWidth);
  document.title = JSON.stringify([root.clientWidth, root.scrollWidth, images, wide]);
}}</script>"""
"""Headless Chromium's window is at least 500 pixels wide; a frame in it is as narrow as a phone."""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs headless Chromium")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("runs", [1, 2])
def test_chromium_opens_it_and_nothing_sticks_out(tmp_path: Path, runs: int, width: int) -> None:
    (tmp_path / "report.html").write_text(make_page([content()] * runs), encoding="utf-8")
    (tmp_path / "wrapper.html").write_text(WRAPPER.format(width=width), encoding="utf-8")
    done = subprocess.run(
        [
            "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000", "--dump-dom",
            (tmp_path / "wrapper.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    client, scrolled, images, wide = json.loads(re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1])
    assert scrolled <= client <= width, (client, scrolled)
    assert client > width - 30, (client, scrolled)
    assert images
    assert not wide, wide


def test_files_that_could_not_be_read_are_in_no_count() -> None:
    """The table of classes, the counts above it and the words say the same."""
    run = content(40)
    verdict = run.verdict
    before = by_class(run)
    lost = int((verdict.action == 2).nonzero()[0])
    reasons = ["unreadable: truncated" if i == lost else why for i, why in enumerate(verdict.reason)]
    run = replace(run, verdict=replace(verdict, reason=reasons))
    assert int(before.sum() - by_class(run).sum()) == 1
    assert int(by_class(run)[verdict.label[lost], 2]) == int(before[verdict.label[lost], 2]) - 1
    assert judged_counts(run.verdict)["dropped"] == verdict.counts()["dropped"] - 1
    assert judged_counts(run.verdict)["kept"] == verdict.counts()["kept"]
