"""The page: everything from the data escaped, nothing loaded, small whatever the number of images."""

import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from cleanse.report.figures import data_address, histogram, stacked_bars
from cleanse.report.page import RunContent, make_page
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
    return RunContent(
        Path("runs") / EVIL[1], results, f"a: '{EVIL[0]}'\nb: {EVIL[3]}", verdict, EVIL, features, role,
        ("clean", "poison", "cover"), images,
    )  # fmt: skip


@pytest.mark.parametrize("runs", [1, 2])
def test_hostile_names_stay_text(runs: int) -> None:
    page = make_page([content()] * runs)
    page.encode("utf-8")  # no half of a surrogate pair is left
    tags = Tags(page)
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & set(tags.names)
    assert not [a for a in tags.attributes if a[1].startswith("on")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "\u202e" not in page
    assert "new\\nline\\u202e" in page and "bytes\\xff" in page and "{{ 7*7 }}" in page


@pytest.mark.parametrize("runs", [1, 2])
def test_the_page_loads_nothing_and_is_well_marked_up(runs: int) -> None:
    tags = Tags(make_page([content()] * runs))
    for _, name, value in tags.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("#", "data:image/png;base64,")), value
    ids = [value for _, name, value in tags.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {v[1:] for _, name, v in tags.attributes if name == "href" and v.startswith("#")} <= set(ids)
    assert tags.names.count("caption") == tags.names.count("table") and tags.names.count("h1") == 1
    for tag, needed in (("img", "alt"), ("th", "scope")):
        assert tags.names.count(tag) == sum(t == tag and a == needed for t, a, _ in tags.attributes)


def test_figures_are_in_per_cent_before_and_after_and_the_summary_counts() -> None:
    page = make_page([content()])
    for text in (">12.5<", ">95.0<", ">100.0<", "20 were kept, 10 relabelled and 10 dropped", "25.0 % of the clean"):
        assert text in page
    unknown = make_page([content(results={"recipe": "kNN", "attack": None})])
    assert "need a simulated attack" in unknown.replace("\n", " ")
    gone = make_page([replace(content(), images={}, missing="there is no folder <b>x</b>")])
    assert "No images are shown: there is no folder &lt;b&gt;x&lt;/b&gt;" in gone and "<img" not in gone


def test_the_page_is_deterministic_and_small_with_many_images() -> None:
    assert make_page([content()]) == make_page([content()])
    page = make_page([content(50_000)])
    assert len(page.encode()) < 5_000_000 and "A random 3,000 of the 50,000 images" in page


@pytest.mark.parametrize("n", [0, 1])
def test_hardly_any_image(n: int) -> None:
    assert "</html>" in make_page([content(n)])


def test_charts_and_pictures_take_extremes() -> None:
    score, group = torch.tensor([float("inf"), 1, 1, -float("inf")]), torch.tensor([0, 1, 0, 0])
    assert histogram(score, group, ("a", "b"), "s").startswith("<svg")
    bars = stacked_bars(torch.tensor([[1, 0]]), ["<b>"], ("a", "b"), "s")
    assert "&lt;b&gt;" in bars and "<b>" not in bars
    assert data_address(torch.zeros(1, 500, 2, dtype=torch.uint8)).startswith("data:image/png;base64,")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs headless Chromium")
def test_chromium_opens_it(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(make_page([content()]), encoding="utf-8")
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "report.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "This page loads nothing" in done.stdout
    assert "<script" not in done.stdout and done.stdout.count("<svg") == 5
