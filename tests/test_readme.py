"""What the README and the guides show works as shown."""

import re
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from commands import run_command

from cleanse.utils.configs import shipped
from cleanse.verdict import Verdict

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_config_that_a_page_names_is_shipped(page: Path) -> None:
    own = set(re.findall(r'```yaml title="(\S+)"', page.read_text()))
    named = {name for name in re.findall(r"--config (\S+\.yaml)", page.read_text()) if "NAME" not in name}
    assert named - own - {"config.yaml"} <= set(shipped())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert not re.findall(r"@[A-Z_]+@", page.read_text())


def test_the_readme_names_every_attack_and_data_set() -> None:
    names = [name for name in shipped() if name.startswith(("attacks/", "data/"))]
    assert [n for n in names if f"`{n.split('/')[1].removesuffix('.yaml')}`" not in README] == []


def test_the_most_suspicious_images_fit_a_terminal_with_their_scores() -> None:
    """At 80 columns pandas hides what does not fit, in the middle."""
    [line] = re.findall(r"^print\((experiment\.verdict\..*)\)$", README, re.M)
    ids = [f"golden_retriever/n02099601_{i}.JPEG" for i in range(1000, 1030)]
    label, reason = torch.zeros(30, dtype=torch.int64), ["looks like another class, 'labrador_retriever', by far"] * 30
    verdict = Verdict.from_labels(ids, label, label, label == 1, torch.arange(30.0), reason)
    with pd.option_context("display.width", 80, "display.max_columns", 0):
        shown = str(eval(line, {"experiment": SimpleNamespace(verdict=verdict)}))
    assert shown.splitlines()[0].split() == ["id", "action", "score"]
    assert shown.splitlines()[1].split() == ["29", ids[-1], "keep", "29.0"]


EXTENDING = (ROOT / "docs" / "extending.md").read_text()


@pytest.mark.parametrize("command", re.findall(r"^cleanse (fit .*)$", EXTENDING, re.M))
def test_the_classes_of_the_guide_run_verbatim(command: str, tmp_path: Path) -> None:
    """The files are written as printed, and the printed command is run on few images."""
    for name, text in re.findall(r'```\w+ title="(\S+)"\n(.*?)```', EXTENDING, re.S):
        (tmp_path / name).write_text(text)
    small = ["--data.limit_train", "200", "--data.limit_test", "50", "--model.epochs", "1", "--compare", "[]"]
    if "knn.yaml" in command:
        small += ["--model.pretrain_epochs", "1", "--model.pretrain_batch_size", "64", "--model.probe_epochs", "1"]
    done = run_command([*command.split(), *small], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / done.stdout.splitlines()[-1] / "verdict.parquet").is_file()
