"""Usual names of other tools lead to arguments that there are."""

import pytest

from cleanse.cli.check import SECTIONS
from cleanse.experiments.build import parse
from cleanse.utils.usual_names import USUAL, usual_name

VALUES = {"--trainer.accelerator {}": "cpu", "--trainer.precision {}": "32", "--data.labels {}": "labels.csv"}


@pytest.mark.parametrize("names", USUAL)
def test_what_is_meant_is_an_argument_of_fit(names: str) -> None:
    for option in USUAL[names]:
        if option.startswith(("--workers", "--out", "--images", "--config")):
            continue  # of bench, of check, export and poison, of predict; files
        given = option.format(VALUES.get(option, "1")).replace(" gpu", " cpu").split()  # one may have none
        first = ["--config=attacks/badnets.yaml"] if ".attack." in option else []
        first += ["--data.attack.class_rate=null"] if "poison_rate" in option else []
        parse(["fit", "--config=check.yaml", "--config=data/folder.yaml", "--data.root=.", *first, *given])


def test_no_name_is_there_twice_or_one_of_ours() -> None:
    every = [name for names in USUAL for name in names.split()]
    assert len(every) == len(set(every))
    assert not {*every} & ({*SECTIONS} - {"data", "model"})


@pytest.mark.parametrize(
    ("own", "meant"),
    [(("out", "root"), "--out there"), (("root",), "--root there"), (("csv",), "")],
    ids=["check", "fit", "table"],
)
def test_each_command_is_told_its_own_option(own: tuple[str, ...], meant: str) -> None:
    assert usual_name("--output-dir", "there", own) == (f"did you mean {meant}? " if meant else "")
