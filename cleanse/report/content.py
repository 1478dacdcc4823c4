"""What a page and a W&B run show of an experiment, from its directory and its data."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from lightning.pytorch import LightningModule
from torch import Tensor

from cleanse.engine.run_directory import RunDirectory
from cleanse.report.most_suspicious import judged_rows, most_suspicious
from cleanse.report.pattern import SEE_REPORT, Pattern, kept_neighbors, kept_peers, shared_pattern, suspicious_rows
from cleanse.report.saliency import grad_cam
from cleanse.report.summary import summarize
from cleanse.utils.files import read_small
from cleanse.verdict import DROP, RELABEL, Verdict

GALLERY = 24
"""Images in a gallery at most."""
NEIGHBORED, NEAR = 8, 8
"""How many suspicious images are shown with their neighbors, and how many of those."""
ATTENDED = 6
"""Triggered test images with saliency maps."""


@dataclass(frozen=True)
class Look:
    """What one classifier makes of a triggered test image.

    Attributes:
        model: its name for a reader.
        saliency: (H, W) float in [0, 1].
        predicted: the class that it answers.
    """

    model: str
    saliency: Tensor
    predicted: int


@dataclass(frozen=True)
class Attention:
    """A triggered test image as the undefended and the cleansed classifier see it.

    Attributes:
        image: (C, H, W) uint8.
        changed: (H, W) bool: where the trigger changed it.
        label: its true class.
        id: of the test image.
        looks: one for each classifier.
    """

    image: Tensor
    changed: Tensor
    label: int
    id: str
    looks: Sequence[Look]


@dataclass(frozen=True)
class RunContent:
    """What a page is made of: all that a run's directory holds, and what could be found besides.

    Attributes:
        directory: of the run; its path is as the user named it.
        results: flat, of results.json.
        config: text of config.yaml.
        verdict: n rows.
        classes: names, in label order.
        features: (m, D) float, the embedding of the first m rows of the verdict; None without one.
        role: (n,) int64, an index into ``roles``, -1 where it is not known; None without a simulated attack.
        roles: names.
        images: row of the verdict to (C, H, W) uint8, for those that are shown (`shown_rows`).
        missing: why there are no images; empty where there are.
        near: row of the verdict to its nearest rows in what the recipe compared images by, the nearest first; empty
            without an embedding.
        beside: suspicious rows of one class to the kept rows most like each.
        peers: some kept rows of that class.
        pattern: what those suspicious images share; None without images or an embedding.
        attention: triggered test images and where the classifiers look.
        no_attention: why there are none; empty where there are, or where the run has no attack.
    """

    directory: RunDirectory
    results: Mapping[str, Any]
    config: str
    verdict: Verdict
    classes: Sequence[str]
    features: Tensor | None = None
    role: Tensor | None = None
    roles: Sequence[str] = ()
    images: Mapping[int, Tensor] = field(default_factory=dict)
    missing: str = ""
    near: Mapping[int, Sequence[int]] = field(default_factory=dict)
    beside: Mapping[int, Sequence[int]] = field(default_factory=dict)
    peers: Sequence[int] = ()
    pattern: Pattern | None = None
    attention: Sequence[Attention] = ()
    no_attention: str = ""

    @property
    def words(self) -> list[str]:
        """The run's summary without its lines about each class, which a page shows itself.

        A run without summary.txt has one made for it.
        """
        text = self.directory.read_summary()
        if not text:
            unreadable = sum(why.startswith("unreadable: ") for why in self.verdict.reason)
            text = summarize(self.verdict, self.classes, unreadable)
        return [line.removesuffix(SEE_REPORT) for line in text.splitlines() if line and not line.startswith(" ")]


class View(Protocol):
    """Images with names: a training view or a view of test images."""

    label: Tensor

    @property
    def id(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def images(self, position: Tensor) -> Tensor: ...


def gallery_rows(verdict: Verdict, most: int = GALLERY) -> dict[str, list[int]]:
    """Rows of the verdict for each gallery, the most suspicious first, each in one; unreadable files in none."""
    there = judged_rows(verdict)
    differ = len(verdict) > 0 and bool((verdict.score != verdict.score[0]).any())
    suspicious = most_suspicious(verdict, there, most) if differ else []
    shown = set(suspicious)
    rest = [i for i in there if i not in shown]
    return {"suspicious": suspicious} | {
        name: most_suspicious(verdict, [i for i in rest if verdict.action[i] == action], most)
        for name, action in (("relabeled", RELABEL), ("dropped", DROP))
    }


def shown_rows(run: RunContent, most: int = GALLERY) -> set[int]:
    """Rows of the verdict of which a picture is shown."""
    galleries = {i for rows in gallery_rows(run.verdict, most).values() for i in rows}
    near = {**run.beside, **run.near}
    return (
        galleries
        | set(run.peers)
        | set(near)
        | {i for rows in (*run.near.values(), *run.beside.values()) for i in rows}
    )


def threshold(verdict: Verdict) -> float | None:
    """The score that parts the kept from the relabeled and dropped images; None where no score does.

    Images without a label are left out: nobody judged them.

    >>> label, new, score = torch.tensor([1, 1, 1]), torch.tensor([1, 0, 1]), torch.tensor([0.5, 1.0, 0.0])
    >>> threshold(Verdict.from_labels(["a", "b", "c"], label, new, score=score))
    0.75
    """
    judged = (verdict.label >= 0) & verdict.score.isfinite()
    judged &= torch.tensor([not why.startswith("unreadable: ") for why in verdict.reason], dtype=torch.bool)
    kept, flagged = verdict.score[judged & verdict.kept], verdict.score[judged & ~verdict.kept]
    if not len(kept) or not len(flagged) or kept.max() > flagged.min():
        return None
    return float((kept.max().double() + flagged.min().double()) / 2)


def nearest(features: Tensor, rows: Sequence[int], k: int = NEAR) -> dict[int, list[int]]:
    """The k other rows that have the highest cosine similarity with each of some rows.

    Args:
        features: (n, D) float.
        rows: of ``features``.
        k: fewer where there are not as many others.

    >>> nearest(torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]]), [0], k=2)
    {0: [1, 2]}
    """
    if not rows:
        return {}
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    place = torch.tensor(rows)
    similar = unit[place] @ unit.T
    similar[torch.arange(len(rows)), place] = -torch.inf
    found = torch.sort(similar, descending=True, stable=True).indices[:, : min(k, len(features) - 1)]
    return dict(zip(rows, found.tolist(), strict=True))


def with_embedding(run: RunContent) -> RunContent:
    """The features for the map, and the neighbors of the most suspicious images where a recipe compares images."""
    tables = list(run.directory.tables("embed"))
    features = _fitting(run.verdict, tables, "features")
    compared = _fitting(run.verdict, tables, _compared_by(run.config))
    suspicious = most_suspicious(run.verdict, gallery_rows(run.verdict)["suspicious"], NEIGHBORED)
    if compared is None:
        return replace(run, features=features)
    most_flagged = suspicious_rows(run.verdict, len(run.classes))
    beside = kept_neighbors(compared, run.verdict, most_flagged) if most_flagged else {}
    peers = kept_peers(run.verdict, int(run.verdict.label[most_flagged[0]])) if most_flagged else []
    return replace(run, features=features, near=nearest(compared, suspicious), beside=beside, peers=peers)


def with_images(
    run: RunContent, view: View, role: Tensor | None, roles: Sequence[str], most: int = GALLERY
) -> RunContent:
    """The pictures that are shown and, in simulation, the true roles.

    Args:
        run: with its neighbors.
        view: the training images as the run had them.
        role: (len(view),) of those; None without an attack.
        roles: names.
        most: images in a gallery.

    Raises:
        ValueError: the view lacks an image of the verdict.
    """
    place = {id: i for i, id in enumerate(view.id)}
    there = judged_rows(run.verdict)
    if not all(run.verdict.id[i] in place for i in there):
        raise ValueError("the data have changed since the run, or another version of cleanse made it.")
    rows = sorted(shown_rows(run, most))
    images = {i: view.images(torch.tensor([place[run.verdict.id[i]]]))[0] for i in rows}
    run = replace(run, pattern=shared_pattern(images, run.beside, run.peers, run.verdict, run.classes))
    if role is None:
        return replace(run, images=images)
    known = torch.full((len(run.verdict),), -1)
    known[there] = role.long()[[place[run.verdict.id[i]] for i in there]]
    return replace(run, images=images, role=known, roles=roles)


def with_attention(
    run: RunContent, clean: View, triggered: View, measured: Tensor, build: Callable[[], LightningModule]
) -> RunContent:
    """Some triggered test images, evenly spaced over the test set, and where the run's classifiers look.

    Args:
        run: its classifiers are among its stages.
        clean: all test images.
        triggered: those with a trigger.
        measured: (len(clean),) bool: which ones have one.
        build: makes the recipe's classifier, without its weights.
    """
    found = final_classifiers(run, build)
    if not found:
        return replace(run, no_attention="the stages of the run that hold its classifiers are not there any more.")
    rows = torch.linspace(0, len(triggered) - 1, min(ATTENDED, len(triggered))).round().long()
    image = triggered.images(rows)
    changed = (clean.images(measured.nonzero().flatten()[rows]) != image).any(1)
    looks: list[list[Look]] = [[] for _ in rows]
    for name, module in found.items():
        normalize, network = getattr(module, "normalize", None), getattr(module, "network", None)
        if normalize is None or network is None:
            return replace(run, no_attention="the classifier of this recipe has no network to look into.")
        try:
            saliency, predicted = grad_cam(network.eval(), normalize(image.float() / 255))
        except ValueError as error:
            return replace(run, no_attention=f"{error}.")
        for i, own in enumerate(looks):
            own.append(Look(name, saliency[i], int(predicted[i])))
    ids, label = triggered.id, triggered.label
    shown = [
        Attention(image[i], changed[i], int(label[r]), ids[r], looks[i]) for i, r in enumerate(rows.tolist())
    ]  # fmt: skip
    return replace(run, attention=shown)


def final_classifiers(run: RunContent, build: Callable[[], LightningModule]) -> dict[str, LightningModule]:
    """The undefended classifier, where the run was compared with one, and the cleansed one, as they were evaluated.

    A run predicts the clean test images with its own classifier first, then with each that it is compared with, in the
    order of its results; the record of such a stage names the classifier's.
    """
    links = sorted(run.directory.stages.glob("*"))
    order = [k.removesuffix("sa").rstrip("_") for k in run.results if k == "sa" or k in ("none_sa", "oracle_sa")]
    keys = [key for link in links if (key := _tested(link))]
    names = {"none": "No defense", "": str(run.results.get("recipe", "This recipe"))}
    found = {}
    for short, name in names.items():
        if short not in order or order.index(short) >= len(keys):
            continue
        key = keys[order.index(short)]
        try:
            (path,) = {link.resolve() / "model.ckpt" for link in links if link.resolve().name.endswith(f"-{key}")}
            if not path.is_file():  # a pipe need not end
                continue
            module = build()
            module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])
        except Exception:  # whatever a foreign or damaged file holds, the page goes without its classifier
            continue
        found[name] = module.eval()
    return found


def _tested(link: Path) -> str:
    """The key of the classifier that this stage tested; empty for any other stage."""
    try:
        record = json.loads(read_small(link / "stage.json"))
        return str(record["predict"]) if record["name"] == "test" else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _fitting(verdict: Verdict, tables: Sequence[Mapping[str, Any]], column: str) -> Tensor | None:
    """(m, D) of the first table that has a row for each of the m images that could be read."""
    m = sum(not why.startswith("unreadable: ") for why in verdict.reason)
    for table in tables:
        x = table.get(column)
        if isinstance(x, Tensor) and x.ndim == 2 and len(x) == m and bool(x.isfinite().all()):
            return x.float()
    return None


def _compared_by(config: str) -> str:
    """The column of the ``embed`` stage that the recipe compares images by: the projection for Wang et al. 2022."""
    try:
        model = yaml.safe_load(config)["model"]
        contrastive = str(model["class_path"]).endswith("ContrastiveFilter")
        return "embedding" if contrastive and model["init_args"].get("encoder") != "supervised" else "features"
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return "features"
