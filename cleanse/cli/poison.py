"""``cleanse poison``: freeze a poisoned data set as files that describe themselves."""

import hashlib
import html
import logging
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import SUPPRESS, ActionConfigFile, Namespace  # type: ignore[attr-defined]
from lightning.pytorch import Trainer

from cleanse.attacks import ROLES, Attack
from cleanse.cli.export import check_outside, one_device, save_png, write_table
from cleanse.cli.own_classes import TRUST, TRUST_HELP, take_trust
from cleanse.data import ImageFolder
from cleanse.data.base import ImageDataModule
from cleanse.data.frozen import COLUMNS, Frozen, folder_names, in_blocks, triggered_folder
from cleanse.engine.fingerprint import describe
from cleanse.engine.precision import best_precision
from cleanse.engine.progress import Screen, quiet
from cleanse.engine.runner import Runner
from cleanse.experiments.arguments import Arguments, read_arguments
from cleanse.experiments.classes import check_classes
from cleanse.experiments.experiment import ready
from cleanse.experiments.messages import UsageError
from cleanse.experiments.parser import Parser
from cleanse.experiments.reading import reading
from cleanse.utils.files import check_new_folder, new_folder
from cleanse.version import __version__
from cleanse.views import ImageView

log = logging.getLogger("cleanse")

ABOUT = """\
Poison a data set and write it down: images, labels, roles, true labels and the trigger, with a README that explains
them. `cleanse fit --config ispl.yaml --config data/frozen.yaml --data.root DIR` loads it again, bit for bit.
A config may also be that of a recipe or of a run: its data and its seed count here, and for an attack that trains
something its root and its trainer; the images are then those of the run."""
README = """\
# A poisoned image data set, frozen

Written by cleanse {version}. It carries a backdoor on purpose: **train nothing on it that anybody will use**.

* Images: {data}, {height} x {width} pixels, {colors}, as 8-bit PNG without loss.
* Attack: {attack} ({source} -> {target}), seed {seed}.
* {images} training images: {roles}.{withheld}
* {tests} test images; {triggered} of them triggered, to measure the attack success rate (ASR) on.

## Files

What a defender may have:

* `train/<class>/`: training images under the label that they are given, poison included; `unlabeled/`, if it is there:
  those whose label is withheld.
* `test/<class>/`: test images, without the trigger.

**What holds the answer:**

* `rows.csv`: **the answer key**; of each training image its file, given label and true label (numbers; -1 is withheld),
  role (clean, poison or cover), name in the original set, and number of the trigger (from 1; 0 for none).
* `triggered/<true class>/`: test images with the trigger; a file has its number in `test/`.{more}
* `attack.yaml`: class, arguments and seed of the attack; the names of the classes in label order.
* `trigger.pt`: the trigger's state, `torch.load("trigger.pt", weights_only=True)`.
* `README.md`: this file.

To try a defender who must not know, hand over `train`, `unlabeled` and `test` only.

## Load it again

All of it, bit for bit, with ASR measured:

    cleanse fit --config ispl.yaml --config data/frozen.yaml --data.root THIS_FOLDER

or in Python `cleanse.data.Frozen("THIS_FOLDER")`. As a folder of images of which nothing is known:

    cleanse fit --config ispl.yaml --config data/folder.yaml --data.size {height} --data.root THIS_FOLDER

## Training images per class

{classes}

given: with this label in `train`; true: of this class before the attack, and of these by role.
"""
OF_A_RUN = ("model", "threads", "compile", "compare", "watch", "baseline", "verdict_only", "report")
"""Sections of the configs of runs, which say nothing about the data."""


def poison(argv: Sequence[str]) -> None:
    """Run the command; the last line on standard output is the folder.

    Args:
        argv: what follows ``cleanse poison``.

    Raises:
        UsageError: the arguments or a config are wrong.
        ValueError: data and attack do not fit, or the folder is in use.
    """
    quiet()
    trust, words = take_trust(list(argv))
    arguments = read_arguments(["poison", *words])
    parser = Parser(prog="cleanse poison", description=ABOUT)
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="A yaml file; later ones win.")
    parser.add_subclass_arguments(ImageDataModule, "data", required=True)
    parser.add_argument("--out", type=str | None, default=None, help="The folder to make; missing or empty.")
    parser.add_argument("--seed_everything", type=int, default=0, help="Draws rows and trigger, as in cleanse fit.")
    parser.add_argument("--root", type=str, default="runs", help="Directory of what an attack has to train first.")
    parser.add_argument(TRUST, action="store_true", help=TRUST_HELP.replace("config names", "configs name"))
    for name in OF_A_RUN:
        parser.add_argument(f"--{name}", type=Any, default=None, help=SUPPRESS)
    parser.add_class_arguments(Trainer, "trainer", fail_untyped=False, instantiate=False, sub_configs=True)
    config, data = data_from(parser, arguments, trust)
    if config.out is None:
        raise UsageError("say which folder to make: --out DIR")
    if data.attack is None:
        raise UsageError("there is no attack: name one after the data, for example with --config attacks/badnets.yaml")
    check_new_folder(config.out)
    trainer = config.trainer.as_dict()
    if trainer["precision"] is None and type(data.attack).learn is not Attack.learn:  # it trains something, as in fit
        trainer["precision"] = best_precision(trainer["accelerator"], config.root)
    run = Runner(config.root, config.seed_everything, arguments=one_device(trainer), screen=Screen())
    ready(data, run)
    run.expect(data.plan_attack())
    data.learn_attack(run)
    out = freeze(data, config.out)
    log.info("the answer key is %a: who must not know gets train, unlabeled and test only", str(out / "rows.csv"))
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(config.out) + b"\n")  # whatever bytes the name has
    sys.stdout.flush()


def data_from(parser: Parser, arguments: Arguments, trust: bool) -> tuple[Namespace, ImageDataModule]:
    """What a command's arguments say, and the data module among it.

    Raises:
        UsageError: the arguments or a config are wrong.
        ValueError: the data module refuses its arguments.
    """
    with reading(arguments, trust, "data"):
        config = parser.parse_args(arguments.words[1:])
        check_classes(config.data)
        return config, parser.instantiate(config).data


def freeze(data: ImageDataModule, out: str | Path, triggered: Sequence[ImageView] | None = None) -> Path:
    """Write a poisoned data set as files that describe themselves; `Frozen` reads them.

    * ``train/<class>/<number>.png`` under the given label, the poison among them (``unlabeled/`` where the label is
      withheld), and ``test/<class>/<number>.png``: what a defender may have; `ImageFolder` reads it.
    * ``triggered/<true class>/<number>.png``: the test images that ASR is measured on, triggered.
    * ``rows.csv``, the answer key: file, given label, true label, role and the name in the original set, in the order
      of the original. ``attack.yaml``: class, arguments and seed of the attack, names of the classes in label order,
      sha256 of the other two.
      ``trigger.pt``: the state of its buffers. ``README.md``: all this with the counts.
    * A class name that no folder can have (empty, hidden, with a slash, too long) becomes ``class-<number>``. Paths
      to files among the attack's arguments become names of files.

    Args:
        data: with an attack that has learnt what it needs.
        out: the folder to make; missing or empty.
        triggered: the triggered test images of each trigger; None to make them.

    Returns:
        ``out``.

    Raises:
        ValueError: no attack, images that are not 8-bit gray levels or RGB, or a folder that is in use.
    """
    attack = data.attack
    if attack is None:
        raise ValueError("there is no attack to freeze: add --config attacks/badnets.yaml or another, after the data")
    if isinstance(data, Frozen):
        raise ValueError(f"{data.root!r} is a frozen data set already: copy its folder")
    check_new_folder(out)
    if isinstance(data, ImageFolder):
        check_outside(out, data.root)
    train, test = data.training_view(), data.clean_test()
    triggered = data.triggered_tests() if triggered is None else triggered
    if test is None:
        raise ValueError("a frozen data set needs a test part: add a test folder, or --data.holdout 0.2")
    if train.channels not in (1, 3):
        raise ValueError(f"images have {train.channels} channels, but a PNG file keeps 1 (gray) or 3 (RGB) exactly")
    classes = folder_names(train.classes)
    width = len(str(max(len(train), len(test)) - 1))

    def folder(part: str, label: int) -> str:
        return f"{part}/{classes[label]}" if label >= 0 else "unlabeled"

    with new_folder(out) as aside:
        for part in ("train", "test", *map(triggered_folder, range(len(triggered)))):
            for name in classes:
                (aside / part / name).mkdir(parents=True)
        if (train.label < 0).any():
            (aside / "unlabeled").mkdir()
        names = [f"{folder('train', c)}/{i:0{width}}.png" for i, c in enumerate(train.label.tolist())]
        jobs: list[tuple[ImageView, int, str]] = [(train, i, name) for i, name in enumerate(names)]
        jobs += [(test, i, f"{folder('test', c)}/{i:0{width}}.png") for i, c in enumerate(test.label.tolist())]
        for number, (own, view) in enumerate(zip(attack.parts if triggered else (), triggered, strict=True)):
            measured = own.measured(test.label).nonzero().flatten().tolist()
            jobs += [
                (view, k, f"{folder(triggered_folder(number), c)}/{i:0{width}}.png")
                for k, (i, c) in enumerate(zip(measured, view.label.tolist(), strict=True))
            ]

        def work(job: tuple[ImageView, int, str], i: int) -> None:
            view, row, name = job
            save_png(view.images(torch.tensor(row)), aside / name)

        in_blocks(partial(map, work), jobs, "writing images")
        true, roles = data.truth.true_label.tolist(), [ROLES[r] for r in data.truth.role.tolist()]
        triggers = (data.truth.carried + 1).tolist()
        lines = zip(names, train.label.tolist(), true, roles, train.id, triggers, strict=True)
        write_table(aside / "rows.csv", COLUMNS, lines)
        torch.save({k: v.detach().cpu().clone() for k, v in attack.state_dict().items()}, aside / "trigger.pt")
        card = {
            "class_path": _path(attack),
            "init_args": {k: _shown(v) for k, v in attack.arguments.items()},
            "seed": data.seed or 0,
            "data": _path(data),
            "classes": list(classes),
            "version": __version__,
            "sha256": {
                name: hashlib.sha256((aside / name).read_bytes()).hexdigest() for name in ("rows.csv", "trigger.pt")
            },
        }
        text = "# Part of the answer: what poisoned this data set. `cleanse.data.Frozen` reads it.\n"
        (aside / "attack.yaml").write_text(text + yaml.safe_dump(card, sort_keys=False), encoding="ascii")
        (aside / "README.md").write_text(_readme(data, classes, len(test), triggered), encoding="utf-8")
    return Path(out)


def _path(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _shown(value: Any) -> Any:
    """An argument of an attack as yaml holds it: plain, a list, or a description of anything else."""
    if isinstance(value, str):
        return os.path.basename(value) if os.path.isfile(value) else value  # nobody else's business
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Attack):
        return {"class_path": _path(value), "init_args": {k: _shown(v) for k, v in value.arguments.items()}}
    return [_shown(v) for v in value] if isinstance(value, (list, tuple)) else {"description": describe(value)}


def _readme(data: ImageDataModule, classes: Sequence[str], tests: int, triggered: Sequence[ImageView]) -> str:
    attack, view, truth = data.attack, data.training_view(), data.truth
    assert attack is not None
    lines = ["| label | class | given | true | " + " | ".join(ROLES) + " |", "|" + "---|" * (4 + len(ROLES))]
    for c, name in enumerate(classes):
        mine = truth.true_label == c
        counts = [int((view.label == c).sum()), int(mine.sum())]
        counts += [int((mine & (truth.role == role)).sum()) for role in range(len(ROLES))]
        lines.append(f"| {c} | {_markdown(name)} | " + " | ".join(map(str, counts)) + " |")
    withheld = int((view.label < 0).sum())
    return README.format(
        version=__version__,
        data=type(data).__name__,
        height=view.size[0],
        width=view.size[1],
        colors="gray levels" if view.channels == 1 else "RGB",
        attack=type(attack).__name__,
        source=_markdown(attack.eligible_name()),
        target=_markdown(attack.aim_name()),
        seed=data.seed or 0,
        images=len(view),
        roles=", ".join(f"{truth.count(role)} {name}" for role, name in enumerate(ROLES)),
        withheld=f" {withheld} labels are withheld: those images are in `unlabeled/`." if withheld else "",
        tests=tests,
        triggered=" and ".join(str(len(view)) for view in triggered) or "none",
        more="".join(
            f"\n* `{triggered_folder(number)}/`: the same with trigger {number + 1}:"
            f" {_markdown(part.eligible_name())} -> {_markdown(part.aim_name())}."
            for number, part in enumerate(attack.parts)
            if number
        ),
        classes="\n".join(lines),
    )


def _markdown(name: str) -> str:
    """A name that is text and nothing else in Markdown and in HTML."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|~-])", r"\\\1", html.escape(repr(name)[1:-1], quote=False))
