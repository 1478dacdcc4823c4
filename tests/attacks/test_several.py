"""Several: rows that no two attacks share, which trigger each carries, its figures, and its files."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cleanse.attacks import CLEAN, COVER, POISON, Attack, BadNets, Blend, Several, WaNet
from cleanse.attacks.label_consistent import LabelConsistent
from cleanse.cli.main import main
from cleanse.cli.poison import freeze
from cleanse.data import Digits, Frozen
from cleanse.data.base import Truth
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.runner import Runner
from cleanse.experiments.evaluation import evaluate_verdict
from cleanse.networks import SmallCNN
from cleanse.report.by_trigger import by_trigger
from cleanse.verdict import Verdict

LABEL = torch.arange(400) % 4
ALL = torch.ones(400, dtype=torch.bool)


def two(**second: Any) -> Several:
    upper: dict[str, Any] = {"target": 1, "count": 70, "corner": "upper_left", **second}
    return Several([BadNets(target=0, count=50, corner="lower_right"), BadNets(**upper)])


def poison(attack: Attack, seed: int = 0) -> Any:
    return attack.poison(torch.full((400, 1, 8, 8), 77, dtype=torch.uint8), LABEL, ALL, 4, seed)


def test_every_row_has_one_trigger_and_that_ones_target() -> None:
    made = poison(two())
    assert torch.bincount(made.trigger[made.role == POISON].long()).tolist() == [50, 70]
    upper, lower = made.image[:, 0, :3, :3] != 77, made.image[:, 0, 5:, 5:] != 77
    assert torch.equal(lower.flatten(1).any(1), made.trigger == 0)
    assert torch.equal(upper.flatten(1).any(1), made.trigger == 1)
    assert torch.equal(made.label[made.role == POISON], made.trigger[made.role == POISON].long())
    assert torch.equal(made.label[made.role == CLEAN], LABEL[made.role == CLEAN])
    assert torch.equal(made.true_label, LABEL)
    assert bool((made.trigger[made.role == CLEAN] == -1).all())


def test_a_rate_is_of_the_whole_set_and_not_of_what_is_left() -> None:
    made = poison(Several([BadNets(target=0, class_rate=0.5), Blend(target=1, class_rate=0.2)]))
    assert [int((made.trigger == k).sum()) for k in (0, 1)] == [150, 60]


def test_rows_of_another_attack_are_not_left_to_choose() -> None:
    with pytest.raises(ValueError, match=r"only 1.. are eligible .* and not poisoned by another attack"):
        poison(Several([BadNets(target=0, count=250), Blend(target=1, count=250)]))


def test_covers_are_no_poison_of_another() -> None:
    made = poison(Several([WaNet(target=0, count=50, cover_rate=0.2), BadNets(target=1, count=200)]))
    assert int(((made.role == COVER) & (made.trigger == 0)).sum()) == 80
    assert int(((made.role == POISON) & (made.trigger == 1)).sum()) == 200
    assert torch.equal(made.label[made.role == COVER], LABEL[made.role == COVER])


def test_two_of_a_kind_draw_other_rows_and_triggers() -> None:
    noise = BadNets(pattern="noise", target=0, count=50)
    attack = Several([noise, BadNets(pattern="noise", target=0, count=50)])
    made = poison(attack)
    assert not torch.equal(attack.parts[0].trigger_image, attack.parts[1].trigger_image)
    assert int((made.role == POISON).sum()) == 100


def test_the_rows_that_are_announced_are_those_that_change() -> None:
    attack = two()
    assert torch.equal(attack.roles(LABEL, ALL, 3), poison(attack, 3).role)
    assert not torch.equal(attack.roles(LABEL, ALL, 4), poison(attack, 3).role)


def test_several_of_several_are_all_of_them() -> None:
    attack = Several([two(), Blend(target=2, count=5)])
    assert [type(part).__name__ for part in attack.parts] == ["BadNets", "BadNets", "Blend"]
    assert int((poison(attack).trigger == 2).sum()) == 5


def test_refuses_one_attack() -> None:
    with pytest.raises(ValueError, match="attacks is a list of at least two attacks, not 1"):
        Several([BadNets(count=1)])


def test_refuses_a_class_that_the_data_does_not_have() -> None:
    with pytest.raises(ValueError, match="target class 7 is out of range"):
        poison(two(target=7))


def test_the_key_has_each_attacks_arguments() -> None:
    assert hash_of(two()) != hash_of(two(count=71))


def test_it_triggers_the_same_from_a_state_dict() -> None:
    attack = Several([BadNets(pattern="noise", target=0, count=5), WaNet(target=1, count=5)])
    poison(attack)
    again = Several([BadNets(pattern="noise", target=0, count=5), WaNet(target=1, count=5)])
    again.load_state_dict(attack.state_dict())
    image = torch.randint(256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for mine, other in zip(attack.parts, again.parts, strict=True):
        assert torch.equal(mine.trigger(image), other.trigger(image))


def test_each_part_trains_on_its_own_rows(runner: Runner) -> None:
    from functools import partial

    from cleanse.modules import Classifier

    surrogate = partial(Classifier, partial(SmallCNN, width=4))
    hard = LabelConsistent(surrogate, 1, 32, steps=1, target=3, count=6)
    data = Digits(attack=Several([hard, BadNets(target=0, count=9)]), limit_train=120, seed=0)
    data.learn_attack(runner)
    data.setup()
    assert [int((data.truth.carried == k).sum()) for k in (0, 1)] == [6, 9]
    assert set(data.truth.true_label[data.truth.carried == 0].tolist()) == {3}


def test_each_part_learns_with_a_seed_of_its_own(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: dict[str, int] = {}
    monkeypatch.setattr(BadNets, "learn", lambda self, clean, role, seed, run: seeds.update({self.corner: seed}))
    clean = Digits(limit_train=60, seed=0).training_view()
    given = []
    for seed in (0, 0, 1):
        attack = two(count=5)
        role = attack.roles(clean.label, torch.ones(60, dtype=torch.bool), seed)
        attack.learn(clean, role, seed, runner)
        given.append((seeds["lower_right"], seeds["upper_left"]))
    assert given[0] == given[1] != given[2]
    assert given[0][0] != given[0][1]


def test_who_lets_it_learn_before_it_has_chosen_is_told_so(runner: Runner) -> None:
    clean = Digits(limit_train=60, seed=0).training_view()
    for call in (lambda a, r: a.plan_learn(clean, r), lambda a, r: a.learn(clean, r, 0, runner)):
        with pytest.raises(ValueError, match="call `roles` first"):
            call(two(), torch.zeros(60, dtype=torch.int8))


def test_each_trigger_has_its_own_share_of_what_is_flagged() -> None:
    verdict = Verdict.from_labels(
        tuple("abcdef"), torch.zeros(6).long(), torch.zeros(6).long(), torch.tensor([1, 1, 0, 1, 0, 0]).bool()
    )
    truth = Truth(
        torch.zeros(6).long(),
        torch.tensor([1, 1, 1, 1, 1, 0], dtype=torch.int8),
        torch.tensor([0, 0, 1, 1, 1, -1], dtype=torch.int8),
    )
    figures = evaluate_verdict(verdict, truth)
    assert figures["tpr"] == 0.6
    assert figures["tpr_1"] == 1.0
    assert figures["tpr_2"] == pytest.approx(1 / 3)


def test_one_trigger_has_no_figures_of_its_own() -> None:
    verdict = Verdict.keep_all(("a", "b"), torch.zeros(2).long())
    truth = Truth(torch.zeros(2).long(), torch.tensor([0, 1], dtype=torch.int8))
    assert not [name for name in evaluate_verdict(verdict, truth) if name.startswith("tpr_")]


def test_its_files_are_read_back(tmp_path: Path) -> None:
    data = Digits(attack=two(count=20), limit_train=300, limit_test=60, seed=0)
    out = freeze(data, tmp_path / "out")
    frozen = Frozen(str(out))
    assert torch.equal(frozen.training_view().source.image, data.training_view().source.image)
    assert torch.equal(frozen.truth.carried, data.truth.carried)
    for mine, theirs in zip(frozen.triggered_tests(), data.triggered_tests(), strict=True):
        assert torch.equal(mine.source.image, theirs.source.image)
        assert torch.equal(mine.label, theirs.label)
    assert len(list((out / "triggered-2" / "0").iterdir())) > 0
    assert not list((out / "triggered-2" / "1").iterdir())
    with (out / "rows.csv").open(newline="") as file:
        numbers = [row["trigger"] for row in csv.DictReader(file)]
    assert (numbers.count("1"), numbers.count("2")) == (50, 20)
    assert "`triggered-2/`" in (out / "README.md").read_text()


@pytest.mark.parametrize("wrong", ["0", "200", "x"])
def test_damaged_trigger_numbers_are_refused(wrong: str, tmp_path: Path) -> None:
    out = freeze(Digits(attack=two(count=20), limit_train=300, limit_test=60, seed=0), tmp_path / "out")
    text = (out / "rows.csv").read_text()
    (out / "rows.csv").write_text("\n".join(
        line.removesuffix(",2") + f",{wrong}" if line.endswith(",2") else line for line in text.splitlines()
    ))  # fmt: skip
    with pytest.raises(ValueError, match="is damaged"):
        Frozen(str(out)).training_view()


def test_a_strangers_files_name_no_class_of_their_own(tmp_path: Path) -> None:
    out = freeze(Digits(attack=two(count=20), limit_train=300, limit_test=60, seed=0), tmp_path / "out")
    card = yaml.safe_load((out / "attack.yaml").read_text())
    card["init_args"]["attacks"][1]["class_path"] = "subprocess.Popen"
    (out / "attack.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(ValueError, match=r"'subprocess.Popen', which is not part of cleanse"):
        _ = Frozen(str(out)).attack


def test_a_run_has_the_figures_of_each_trigger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(
        ["fit", "--config", "none.yaml", "--config", "quick.yaml", "--config", "attacks/several.yaml",
         "--data.limit_train", "200", "--data.limit_test", "60", "--model.epochs", "1", "--compare", '["oracle"]',
         "--watch", "true"]
    )  # fmt: skip
    *_, heading, none, _, legend, _, last = capfd.readouterr().out.splitlines()
    run = Path(last)
    results = json.loads((run / "results.json").read_text())
    assert results["attack_labels"] == "target | target"
    assert heading.split()[:3] == ["SA", "ASR", "ASR_MAX"]
    assert none.split()[3] == f"{100 * results['asr_max']:.1f}"
    assert "ASR_MAX: the highest ASR of any of the triggers; low is good." in legend
    assert "ASR: triggered test images classified as the target, mean over the triggers; low is good." in legend
    assert "RA: triggered test images classified as their true class, mean over the triggers." in legend
    assert results["asr"] == pytest.approx((results["asr_1"] + results["asr_2"]) / 2)
    assert results["asr_max"] == max(results["asr_1"], results["asr_2"])
    assert results["trigger_2"] == "BadNets (not of class 1 -> 1)"
    assert 0 <= results["oracle_asr_2"] <= 1
    assert results["tpr_2"] == 0
    page = (run / "report.html").read_text()
    assert "Trigger 2, BadNets (not of class 1 -&gt; 1): ASR" in page
    assert "<dd>triggered test images classified as their true class, mean over the triggers</dd>" in page
    assert '<th scope="col">ASR</th><th scope="col">Highest ASR</th><th scope="col">RA</th>' in page
    assert "<dt>Highest ASR</dt><dd>the highest ASR of any of the triggers; low is good</dd>" in page
    assert by_trigger(results)[1]["TPR"] == "0.0 %"
