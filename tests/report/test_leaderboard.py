"""A grid's table for people: means over seeds, a paper's figures beside ours, and what is not there."""

import re

import pandas as pd
import pytest

from cleanse.report.leaderboard import COMPARED, FIGURES, as_latex, as_markdown, leaderboard, leaderboard_page

NAN = float("nan")


@pytest.fixture
def table() -> pd.DataFrame:
    """Two seeds of knn, one of none with its second missing, and one that failed."""
    rows = [
        ("knn", "badnets", 0, "done", 0.90, 0.02, 0.92, ""),
        ("knn", "badnets", 1, "done", 0.92, 0.04, 0.92, ""),
        ("none", "badnets", 0, "done", 0.95, 1.00, NAN, ""),
        ("none", "badnets", 1, "missing", NAN, NAN, NAN, ""),
        ("a_b|c", "<b>x</b>", 0, "failed", NAN, NAN, NAN, "no & luck"),
    ]
    names = ["recipe", "attack", "seed", "status", "sa", "asr", "published_sa", "failed"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(
        **{name: NAN for name in FIGURES if name not in frame},
        **{f"published_{name}": NAN for name in COMPARED if name != "sa"},
        published_source=["A Paper, Table 1"] * 2 + [""] * 3, change="", data="digits",
        rate=0.1, given="", seconds=3.0, peak_memory_mb=100.0,
    )  # fmt: skip


def test_mean_and_deviation_over_seeds_and_the_difference_to_the_paper(table: pd.DataFrame) -> None:
    row = leaderboard(table)[0]
    assert row["sa"] == pytest.approx((0.91, 0.0141421, 2), rel=1e-4)
    assert row["difference"]["sa"] == pytest.approx(-0.01)
    assert row["source"] == "A Paper, Table 1"


def test_a_paper_that_counts_every_relabeled_image_is_compared_with_that(table: pd.DataFrame) -> None:
    """Sabolic et al., Table 2; the accuracy on relabeled poison alone is another figure."""
    ours = {"relabel_accuracy": 0.9, "relabel_accuracy_all": 0.6, "published_relabel_accuracy_all": 0.5}
    assert leaderboard(table.assign(**ours))[0]["difference"].keys() == {"sa", "relabel_accuracy_all"}
    assert leaderboard(table.assign(**ours))[0]["difference"]["relabel_accuracy_all"] == pytest.approx(0.1)


def test_cells_that_are_not_done_are_counted(table: pd.DataFrame) -> None:
    assert [row["cells"] for row in leaderboard(table)] == [
        {"done": 2, "failed": 0, "missing": 0},
        {"done": 1, "failed": 0, "missing": 1},
        {"done": 0, "failed": 1, "missing": 0},
    ]


def test_the_page_shows_figures_failures_and_a_chart(table: pd.DataFrame) -> None:
    page = leaderboard_page(table, "mine")
    assert "91.0 ± 1.4" in page
    assert "no &amp; luck" in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<b>x</b>" not in page
    assert page.count("<svg") == 1
    assert 'src="' not in page


def test_markdown_and_latex_escape_names(table: pd.DataFrame) -> None:
    assert "| a_b\\|c | <b>x</b> | digits | 10 | 0, 1 failed |" in as_markdown(table)
    assert "91.0 $\\pm$ 1.4 &" in as_latex(table)
    assert "a\\_b|c &" in as_latex(table)


def test_for_papers_recipes_stand_by_attacks_for_each_data_set(table: pd.DataFrame) -> None:
    more = table.assign(attack="clean", rate=NAN, asr=NAN, sa=[0.96, 0.98, 0.99, 0.99, NAN])
    other = table[:2].assign(data="cifar10")  # one recipe and one attack: the long table says it all
    text = as_markdown(pd.concat([table, more, other]))
    assert text.startswith(
        "| Recipe | badnets 10 % | <b>x</b> 10 % | clean |\n| --- | --: | --: | --: |\n"
        "| knn | 91.0 ± 1.4 / 3.0 ± 1.4 | - | 97.0 ± 1.4 / - |\n| none | 95.0 / 100.0 | - | 99.0 / - |\n"
        "| a_b\\|c | - | - | - |\n\n| Recipe | Attack |"
    )
    assert as_latex(pd.concat([table, more, other])).count(r"\begin{tabular}") == 2


def test_the_tables_say_what_their_figures_are_and_where_the_papers_are_from(table: pd.DataFrame) -> None:
    """Of two seeds only one relabeled a poisoned image."""
    shown = table.assign(relabel_accuracy=[0.5, NAN, NAN, NAN, NAN])
    words = "Per cent; recipes by attacks: SA / ASR; mean ± standard deviation over seeds, with the number of seeds "
    words += "where some have no figure. Published, and ours less that: A Paper, Table 1."
    assert as_markdown(shown).endswith(f"|\n\n{words}\n")
    assert as_latex(shown).startswith(f"% needs \\usepackage{{booktabs}}\n% {words}\n\\begin{{tabular}}")
    assert "| 50.0 (1 of 2) |" in as_markdown(shown)
    assert "50.0 (1 of 2)" in leaderboard_page(shown, "mine")
    assert "92.00 (-1.0)" in as_markdown(shown)
    assert "92.00 ($-$1.0)" in as_latex(shown)
    assert "| Rate % |" in as_markdown(shown)


def test_what_detects_nothing_has_no_figures_of_detection_and_stands_last(table: pd.DataFrame) -> None:
    """Its verdict keeps every image, which would be the lowest FPR of all."""
    given = table.assign(tpr=[0.9, 0.9, 0.0, NAN, NAN], fpr=[0.1, 0.3, 0.0, NAN, NAN], auroc=[0.9, 0.9, 0.5, NAN, NAN])
    knn, none, _ = leaderboard(given)
    assert knn["fpr"][0] == pytest.approx(0.2)
    assert [none[name][2] for name in ("sa", "tpr", "fpr", "auroc")] == [1, 0, 0, 0]
    assert "| none | badnets | digits | 10 | 1, 1 missing | 95.0 | 100.0 | - | - | - |" in as_markdown(given)
    page = leaderboard_page(given, "mine")
    assert '<td data-key="">-</td>' in page.split("none</td>")[1].split("</tr>")[0]  # what has no key is sorted last


def test_a_published_figure_and_the_difference_stand_right_beside_ours(table: pd.DataFrame) -> None:
    page = leaderboard_page(table, "mine")
    headings = re.findall(r'<button type="button">(.*?)</button>', page)
    first = re.findall(r'data-key="(.*?)"', page)[: len(headings)]
    where = headings.index("SA")
    assert headings[where : where + 4] == ["SA", "SA published", "difference", "ASR"]
    assert [float(key) for key in first[where : where + 4]] == pytest.approx([0.91, 0.92, -0.01, 0.03])
