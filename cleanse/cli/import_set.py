"""``cleanse import``: a poisoned set that another tool has made becomes a frozen one."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]

from cleanse.attacks.base import POISON, Poisoned
from cleanse.attacks.imported import Imported
from cleanse.cli.own_classes import TRUST, TRUST_HELP, take_trust
from cleanse.cli.poison import data_from, freeze
from cleanse.data.backdoor_toolbox import read_backdoor_toolbox
from cleanse.data.backdoorbench import read_backdoorbench
from cleanse.data.base import ImageDataModule
from cleanse.data.foreign import Foreign, aims
from cleanse.data.frozen import Frozen
from cleanse.engine.progress import quiet
from cleanse.engine.runner import Runner
from cleanse.experiments.arguments import read_arguments
from cleanse.experiments.messages import UsageError
from cleanse.experiments.parser import Parser
from cleanse.utils.files import check_new_folder
from cleanse.views import ImageView

log = logging.getLogger("cleanse")

TOOLS = ("backdoorbench", "backdoor-toolbox")
ABOUT = """\
Make a frozen data set of a poisoned one that another tool has made, so that its attack can be judged here:
cleanse import backdoorbench record/badnet_0_1 --config data/cifar10.yaml --out DIR
cleanse import backdoor-toolbox poisoned_train_set/cifar10/NAME --config data/cifar10.yaml --out DIR
The config names the clean data set that was poisoned, in its own order. No code of the other tool is run. Then:
cleanse fit --config knn.yaml --config data/frozen.yaml --data.root DIR"""
WHOLE = ("limit_train", "limit_test", "labeled", "reserve_clean")


def import_set(argv: Sequence[str]) -> None:
    """Run the command; the last line on standard output is the folder.

    Args:
        argv: what follows ``cleanse import``.

    Raises:
        UsageError: the arguments or a config are wrong.
        ValueError: the files of the other tool are damaged, hostile, or of another data set.
    """
    quiet()
    trust, words = take_trust(list(argv))
    parser = Parser(prog="cleanse import", description=ABOUT)
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="A yaml file; later ones win.")
    parser.add_subclass_arguments(ImageDataModule, "data", required=True)
    parser.add_argument("--out", type=str | None, default=None, help="The folder to make; missing or empty.")
    parser.add_argument("--seed_everything", type=int, default=0, help="Without meaning here; noted in attack.yaml.")
    parser.add_argument(TRUST, action="store_true", help=TRUST_HELP.replace("config names", "configs name"))
    if {"-h", "--help"} & set(words):
        parser.parse_args(["--help"])
    if len(words) < 2 or words[0] not in TOOLS or words[1].startswith("-"):
        said = " ".join(words[:2]) or "nothing"
        raise UsageError(
            f"say which tool and which folder, as in cleanse import {TOOLS[0]} DIR, not {said}: {_or(TOOLS)}"
        )
    tool, root = words[0], Path(os.path.expanduser(words[1]))
    if not root.is_dir():
        raise UsageError(f"{str(root)!r} is no folder: name the one that {tool} wrote")
    config, clean = data_from(parser, read_arguments(["poison", *words[2:]]), trust)
    if config.out is None:
        raise UsageError("say which folder to make: --out DIR")
    if clean.attack is not None or isinstance(clean, Frozen):
        raise UsageError("the config names the clean data set that was poisoned: leave the attack out")
    for name in WHOLE:
        if clean.arguments.get(name) is not None:
            raise UsageError(f"the other tool's rows are of the whole data set: leave {name} out", ("data", name))
    check_new_folder(config.out)
    Runner("runs", config.seed_everything).prepare(clean)
    data, triggered = imported(tool, root, clean)
    data.seed = config.seed_everything
    out = freeze(data, config.out, triggered)
    if not triggered:
        log.warning("%s keeps no triggered test images: ASR, RA and TMR cannot be measured on this set", tool)
    log.info("the answer key is %a: who must not know gets train and test only", str(out / "rows.csv"))
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(config.out) + b"\n")
    sys.stdout.flush()


def imported(tool: str, root: Path, clean: ImageDataModule) -> tuple[ImageDataModule, tuple[ImageView, ...]]:
    """The data set with the other tool's poison, and its triggered test images.

    Args:
        tool: one of ``TOOLS``.
        root: the folder that it wrote.
        clean: the data set that was poisoned, without an attack.

    Raises:
        ValueError: damaged or hostile files, or those of another data set.
    """
    view, test = clean.training_view(), clean.clean_test()
    if test is None:
        raise ValueError("a frozen data set needs a test part: add a test folder")
    image, label = view.source.image, view.label
    if tool == "backdoorbench":
        found = read_backdoorbench(root, image, label, test.label)
    else:
        found = read_backdoor_toolbox(root, image, label)
    poison = found.role == POISON
    if bool((found.label < 0).any()) or int(found.label.max()) >= view.num_classes:
        raise ValueError(
            f"the set has the label {int(found.label.max())}, but the data have {view.num_classes} classes"
        )
    aim: dict[str, Any] = aims(found.label[poison], label[poison], view.num_classes)
    attack = Imported(
        tool,
        root.resolve().name,
        found.triggered is not None,
        count=int(poison.sum()),
        **aim,
        **_source(found, test.label, aim),
    )
    attack.give(Poisoned(found.image, found.label, label, found.role))
    data: ImageDataModule = type(clean)(**{**clean.arguments, "attack": attack})
    data.setup()
    if found.triggered is None:
        return data, ()
    rows, images = found.triggered
    measured = attack.measured(test.label).nonzero().flatten()
    if not torch.equal(rows, measured):
        raise ValueError(
            f"the set has {len(rows)} triggered test images, but its attack ({attack.eligible_name()} ->"
            f" {attack.aim_name()}) is measured on {len(measured)}: they are not the same images"
        )
    return data, (data.triggered_from(images, rows),)


def _source(found: Foreign, test_label: torch.Tensor, aim: dict[str, Any]) -> dict[str, Any]:
    """The source class, if all triggered test images are of one."""
    if found.triggered is None or aim["labels"] != "target" or not len(found.triggered[0]):
        return {}
    classes = torch.unique(test_label[found.triggered[0]])
    return {"source": int(classes[0])} if len(classes) == 1 and len(torch.unique(test_label)) > 2 else {}


def _or(names: Sequence[str]) -> str:
    return " or ".join(names)
