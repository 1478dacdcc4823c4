"""The plan of a run: what it announces is what then happens, and announcing it changes nothing."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from cleanse import attacks
from cleanse.attacks import Attack, InputAware, LabelConsistent, Several
from cleanse.data import Digits
from cleanse.defenses import Defense, Outcome
from cleanse.engine import measured_step, progress
from cleanse.engine.plan import Planned
from cleanse.engine.progress import Screen
from cleanse.engine.resume_point import SeedEveryEpoch
from cleanse.engine.runner import Runner
from cleanse.experiments import experiment
from cleanse.experiments.build import build, parse
from cleanse.experiments.experiment import Setup, run_experiment
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.utils.configs import find_config, read_config
from cleanse.verdict import Verdict
from cleanse.views import TrainingView

SmallClassifier = partial(Classifier, partial(SmallCNN, width=4), lr=0.05)
TINY = {"data.limit_train": 150, "data.limit_test": 50, "data.batch_size": 32, "model.epochs": 2, "report": False}
FILTER = {"model.pretrain_epochs": 3, "model.probe_epochs": 2, "model.pretrain_batch_size": 50}
STUDENTS = {"model.teacher_epochs": 3, "model.iteration_epochs": 2, "model.iterations": 2}
ISPL = {"model.passes": 1, "model.rounds": 3, "model.self_training_epochs": 1}
RECIPES: dict[str, tuple[str, dict[str, object]]] = {
    "none": ("none", {}),
    "oracle": ("oracle", {}),
    "check": ("check", {"data.limit_train": 60}),
    "ispl": ("ispl", ISPL),
    "ispl-iclr23": ("ispl", {**ISPL, "model.profile": "iclr23", "compare": []}),
    "knn": ("knn", FILTER),
    "knn-baseline": ("knn", {**FILTER, "baseline": True, "compare": ["none"]}),
    "knn-verdict-only": ("knn", {**FILTER, "verdict_only": True}),
    "autoencoder": ("energy", {**FILTER, "model.encoder": "autoencoder", "model.ablation_epochs": 2}),
    "supervised": ("knn_energy", {**FILTER, "model.encoder": "supervised", "model.ablation_epochs": 2}),
    "supcon": ("supcon", FILTER),
    "flow": ("flow", {"model.pretrain_epochs": 3, "model.flow_epochs": 2}),
    "activation_clustering": ("activation_clustering", {"compare": []}),
    "reclassified": (
        "activation_clustering",
        {"model.rule": "smaller", "model.reclassify": 1.0, "compare": [], "report": False},
    ),
    "spectral_signatures": ("spectral_signatures", {"compare": ["none"]}),
    "abl": ("abl", {"model.isolation_epochs": 2, "model.tune_epochs": 2, "compare": ["oracle"]}),
    "abl-retrain": ("abl", {"model.isolation_epochs": 2, "model.retrain": True, "compare": []}),
    "nad": ("nad", {"model.teacher_epochs": 2, "model.distill_epochs": 1, "data.reserve_clean": 2, "compare": []}),
    "dbd": (
        "dbd",
        {
            "model.pretrain_epochs": 2,
            "model.head_epochs": 1,
            "model.mixmatch_epochs": 3,
            "model.iterations": 2,
            "compare": [],
        },
    ),
    "asd": (
        "asd",
        {
            "model.mixmatch_epochs": 3,
            "model.by_class_epochs": 1,
            "model.meta_from": 2,
            "model.iterations": 2,
            "data.reserve_clean": 2,
            "compare": [],
        },
    ),
    "self_training": ("self_training", {**STUDENTS, "compare": ["oracle"]}),
    "semi_supervised": ("semi_supervised", {**STUDENTS, "compare": []}),
    "all-labeled": ("self_training", {**STUDENTS, "data.labeled": 1.0, "compare": []}),
    "simclr_self_training": (
        "simclr_self_training",
        {**STUDENTS, "model.pretrain_epochs": 3, "model.pretrain_batch_size": 50, "compare": []},
    ),
}


ATTACKS: dict[str, dict[str, object]] = {
    "adaptive_patch": {"data.attack.surrogate_epochs": 2, "data.attack.epochs": 1},
    "adversarial_embedding": {"data.attack.surrogate_epochs": 2, "data.attack.steps": 2},
    "input_aware": {"data.attack.epochs": 1, "data.attack.mask_epochs": 1},
    "issba": {"data.attack.epochs": 1, "data.attack.secret_epochs": 1},
    "label_consistent": {"data.attack.surrogate_epochs": 2, "data.attack.steps": 2},
    "narcissus": {"data.attack.surrogate_epochs": 2, "data.attack.warmup_epochs": 1, "data.attack.rounds": 2},
}


@dataclass
class Journal:
    """What was announced to the runner at last, and what was then asked of it: name, epochs and images."""

    planned: list[Planned] | None = None
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    before: list[tuple[list[Planned], list[tuple[str, int, int]]]] = field(default_factory=list)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    found = Journal()
    expect, fit, predict = Runner.expect, Runner.fit, Runner.predict

    def expected(self: Runner, stages: Sequence[Planned] | None, *more: Any) -> None:
        if found.planned is not None:
            found.before.append((found.planned, found.asked))
        found.planned, found.asked = None if stages is None else list(stages), []
        expect(self, stages, *more)

    def fitted(self: Runner, name: str, build: Any, data: Any, **trainer: Any) -> Any:
        if found.planned is not None:
            found.asked.append((name, trainer["max_epochs"], len(data)))
        return fit(self, name, build, data, **trainer)

    def predicted(self: Runner, name: str, module: Any, data: Any) -> Any:
        if found.planned is not None:
            found.asked.append((name, 0, len(data)))
        return predict(self, name, module, data)

    monkeypatch.setattr(Runner, "expect", expected)
    monkeypatch.setattr(Runner, "fit", fitted)
    monkeypatch.setattr(Runner, "predict", predicted)
    return found


def compare(journal: Journal) -> None:
    assert journal.planned is not None
    names = [stage.name.rpartition("/")[2] for stage in journal.planned]
    assert names == [name for name, _, _ in journal.asked]
    assert [stage.epochs for stage in journal.planned] == [epochs for _, epochs, _ in journal.asked]
    assert all(isinstance(stage.build(), LightningModule) for stage in journal.planned)
    for stage, (_, _, images) in zip(journal.planned, journal.asked, strict=True):
        assert images <= stage.rows, stage.name
        assert stage.most or images == stage.rows, stage.name


def tiny(recipe: str, root: Path, attack: str = "", **more: object) -> Setup:
    configs = [f"{recipe}.yaml", "quick.yaml", *([f"attacks/{attack}.yaml"] if attack else [])]
    return build(configs, {**TINY, "root": str(root), "trainer.accelerator": "cpu", **more})


@pytest.mark.parametrize("case", RECIPES)
def test_what_is_planned_is_what_runs(case: str, journal: Journal, tmp_path: Path) -> None:
    recipe, own = RECIPES[case]
    setup = tiny(recipe, tmp_path, **own)
    setup = replace(setup, run=Runner(tmp_path, arguments={"accelerator": "cpu"}))  # timing is tested below
    run_experiment(setup)
    compare(journal)


def test_attacks_that_train_a_model_are_all_tried_here() -> None:
    every = {one for one in vars(attacks).values() if isinstance(one, type) and issubclass(one, Attack)}
    training = {one.__name__ for one in every if one.learn is not Attack.learn} - {"Several"}
    configs = [read_config(find_config(f"attacks/{name}.yaml")) for name in ATTACKS]
    tried = [config["data"]["init_args"]["attack"]["class_path"].rpartition(".")[2] for config in configs]
    assert sorted(tried) == sorted(training)


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_an_attack_trains_is_planned_too(attack: str, journal: Journal, tmp_path: Path) -> None:
    setup = tiny("none", tmp_path, attack=attack, compare=["oracle"], **ATTACKS[attack])
    run = Runner(tmp_path, arguments={"accelerator": "cpu"})
    run_experiment(replace(setup, run=run))
    compare(journal)  # the recipe's, once the attack knows its trigger
    [(planned, asked)] = journal.before
    own = planned[: len(asked)]
    assert [(stage.name, stage.epochs, stage.rows) for stage in own] == asked
    assert run.directory_of(own[0]) == run.stages[0][1]
    later = [(stage.name, stage.epochs) for stage in planned[len(asked) :]]
    assert later == [(s.name, s.epochs) for s in journal.planned or [] if "triggered" not in s.name]
    assert [run.directory_of(stage) for stage in planned[len(asked) :]] == [None] * len(later)


def test_several_attacks_plan_what_each_of_them_trains(journal: Journal, tmp_path: Path) -> None:
    one = LabelConsistent(SmallClassifier, 2, surrogate_batch_size=32, target=0, steps=2, class_rate=0.5)
    two = InputAware(SmallClassifier, epochs=1, mask_epochs=1, target=1, class_rate=0.1)
    data = Digits(Several([one, two]), limit_train=100, limit_test=40, seed=0)
    planned = data.plan_attack()
    run = Runner(tmp_path, arguments={"accelerator": "cpu"})
    run.expect(planned)
    data.learn_attack(run)
    assert [(stage.name, stage.epochs, stage.rows) for stage in planned] == journal.asked
    assert len(planned) == 3
    data.training_view()
    assert data.plan_attack() == []
    with pytest.raises(ValueError, match="before the data is poisoned"):
        data.without_attack()


def test_the_plan_of_an_attack_and_all_after_it_is_said_before_its_first_training(
    said: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    run_experiment(tiny("none", tmp_path, attack="label_consistent", compare=[], **ATTACKS["label_consistent"]))
    lines = [record.getMessage().strip() for record in said.records]
    begin = lines.index("4 stages to do:")
    assert lines[begin + 1].startswith("surrogate: 2 epochs of 150 images, ")
    assert lines[begin + 2].startswith("pgd: a table of ")
    assert lines[begin + 3].startswith("classifier: 2 epochs of at most 150 images, ")
    assert lines[begin + 5].endswith(" in all on this machine, from a step of each training")
    again = lines.index("3 stages to do, 2 are on disk already:")
    assert begin < next(i for i, line in enumerate(lines) if "images poisoned" in line) < again


def test_the_augmentation_study_does_what_it_plans(journal: Journal, tmp_path: Path) -> None:
    cli = parse(
        [
            "fit", "--config=augmentation_study.yaml", "--config=quick.yaml", "--data.limit_train=150",
            "--data.limit_test=50", "--model.epochs=1", "--model.draws=2", '--model.augmentations=["NoAug", "CJ"]',
        ]
    )  # fmt: skip
    cli.model.study(cli.images(), Runner(tmp_path, arguments={"accelerator": "cpu"}))  # type: ignore[operator]
    compare(journal)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    progress.quiet()  # its handler first: it takes the logger for itself
    logger = logging.getLogger("cleanse")
    before = logger.propagate, logger.level
    logger.propagate = True
    logger.setLevel(logging.INFO)
    yield caplog
    logger.propagate = before[0]
    logger.setLevel(before[1])


def test_the_plan_and_its_time_are_said_before_the_first_training(
    said: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    run_experiment(tiny("knn", tmp_path, compare=[], **FILTER))
    lines = [record.getMessage().strip() for record in said.records]
    begin = lines.index("6 stages to do:")
    assert lines[begin + 1].startswith("simclr: 3 epochs of 150 images, ")
    assert lines[begin + 3].startswith("supcon: 2 epochs of at most 150 images, ")
    assert lines[begin + 7].endswith(" in all on this machine, from a step of each training")
    assert begin < next(i for i, line in enumerate(lines) if line.startswith("kNN accepts"))


@pytest.mark.parametrize("recipe", ["knn", "ispl"])
def test_results_are_the_same_bit_for_bit_without_the_estimate(recipe: str, tmp_path: Path) -> None:
    own = {"knn": FILTER, "ispl": ISPL}[recipe]
    made = []
    for enabled in (True, False):
        setup = tiny(recipe, tmp_path / str(enabled), compare=[], **own)
        setup.run.screen = Screen(enabled=enabled)
        made.append(run_experiment(setup))
    assert torch.equal(made[0].verdict.score, made[1].verdict.score)
    assert torch.equal(made[0].verdict.action, made[1].verdict.action)
    weights = [experiment.model.state_dict() for experiment in made]
    assert [k for k in weights[0] if not torch.equal(weights[0][k], weights[1][k])] == []


def test_a_step_is_timed_without_a_draw(tmp_path: Path, view: TrainingView) -> None:
    """Random states go on as if nothing had happened, and the root holds the stage alone."""
    run = Runner(tmp_path, arguments={"accelerator": "cpu"}, screen=Screen())
    recipe = Plain(partial(SmallCNN, width=4), epochs=1)
    stages = recipe.plan_classifier(view)
    run.expect(stages)
    torch.manual_seed(5)
    recipe.classify(view, run)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    assert stages[0].seconds is not None
    assert stages[0].seconds > 0
    assert [p.name.partition("-")[0] for p in tmp_path.iterdir() if p.is_dir()] == ["classifier"]


def test_a_step_that_the_machine_holds_up_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends of steps at 0.5 (warming up), 0.75, 8.75 and 9.0 seconds; rows are images of each."""
    moments = iter((0.0, 0.5, 0.5, 0.75, 0.75, 8.75, 8.75, 9.0, 9.0))
    monkeypatch.setattr(measured_step, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")))
    clock, batch = measured_step._Clock(), {"index": torch.arange(8)}
    with pytest.raises(measured_step._Timed):
        for i in range(9):
            clock.on_train_batch_end(trainer, LightningModule(), None, batch, i)
    assert (clock.step, clock.image) == (0.25, 0.25 / 8)


def test_a_run_of_more_than_two_hours_says_so_before_its_first_training(
    said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[list[str]] = []

    class Look(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "this run needs about" in record.getMessage():
                begun.append([p.name for p in tmp_path.iterdir() if p.name.startswith("classifier")])

    handler = Look()
    logging.getLogger("cleanse").addHandler(handler)
    monkeypatch.setattr(progress, "LONG", 0.0)
    try:
        run_experiment(tiny("none", tmp_path, compare=[]))
    finally:
        logging.getLogger("cleanse").removeHandler(handler)
    assert begun == [[]]
    (warning,) = [record for record in said.records if "this run needs about" in record.getMessage()]
    assert warning.levelno == logging.WARNING
    assert "--config quick.yaml" in warning.getMessage()


@pytest.mark.parametrize(("configs", "advised"), [((), True), (("fast.yaml",), False)])
def test_nobody_is_sent_to_the_fast_preset_who_has_it(configs: tuple[str, ...], advised: bool) -> None:
    advice = experiment._affordable(build(["none.yaml", "data/mnist.yaml", "attacks/badnets.yaml", *configs]))
    assert ("--config fast.yaml" in advice) == advised
    assert "--config quick.yaml" in advice


def test_two_hours_are_what_is_warned_about() -> None:
    assert progress.LONG == 2 * 60 * 60


def test_what_is_on_disk_already_is_counted(said: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """First the verdict alone, then the whole; the comparison is there from a run of another recipe."""
    run_experiment(tiny("knn", tmp_path, verdict_only=True, **FILTER))
    run_experiment(tiny("supcon", tmp_path, compare=[], **FILTER))
    said.clear()
    run_experiment(tiny("knn", tmp_path, compare=["none"], **FILTER))
    lines = [record.getMessage().strip() for record in said.records]
    begin = next(i for i, line in enumerate(lines) if " stages to do" in line)
    assert lines[begin] == "7 stages to do, 3 are on disk already:"
    names = [line.partition(":")[0] for line in lines[begin + 1 : begin + 6]]
    assert names == ["supcon", "probe", "2 x test", "2 x triggered", "none/probe"]


def test_a_resumed_run_counts_the_epochs_that_are_left(
    said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLEANSE_CHECKPOINT_SECONDS", "0")
    draw = SeedEveryEpoch.on_train_epoch_start

    def killed(self: SeedEveryEpoch, trainer: Trainer, module: LightningModule) -> None:
        if trainer.current_epoch == 3:
            raise KeyboardInterrupt
        draw(self, trainer, module)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SeedEveryEpoch, "on_train_epoch_start", killed)
        run_experiment(tiny("none", tmp_path, compare=[], **{"model.epochs": 4}))
    assert any("classifier: 4 epochs of 150 images" in record.getMessage() for record in said.records)
    said.clear()
    run_experiment(tiny("none", tmp_path, compare=[], **{"model.epochs": 4}))
    assert any("classifier: the last 1 of 4 epochs of 150 images" in record.getMessage() for record in said.records)


class Plain(Defense):
    """A recipe that says nothing of its stages."""

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        verdict = Verdict.keep_all(train.id, train.label)
        return Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run))


def test_a_recipe_that_declares_nothing_runs_and_says_so(said: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    data = Digits(limit_train=100, limit_test=50, batch_size=32, seed=0)
    run = Runner(tmp_path, arguments={"accelerator": "cpu"}, screen=Screen())
    run_experiment(Setup(Plain(partial(SmallCNN, width=4), epochs=1), data, run, report=False))
    assert "how many stages this recipe has is not known beforehand" in said.text
