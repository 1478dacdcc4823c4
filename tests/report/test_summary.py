"""The summary in words."""

import pytest
import torch

from cleanse.defenses.lost_classes import warn_of_lost_classes
from cleanse.report.summary import cannot_be_used, flagged_rate, flagged_shares, standing_out, summarize
from cleanse.verdict import Verdict

NAMES = ["cat", "dog", "owl", "<b>\x1b[31m", "fox"]


def verdict(flagged: list[int], size: int = 100) -> Verdict:
    """Of every class, so many images are relabeled to the next class."""
    label = torch.arange(len(flagged)).repeat_interleave(size)
    place = torch.arange(size).repeat(len(flagged))
    new = torch.where(place < torch.tensor(flagged)[label], (label + 1) % len(flagged), label)
    return Verdict.from_labels([str(i) for i in range(len(label))], label, new)


def test_a_class_that_stands_out_is_named_with_where_its_images_go() -> None:
    text = summarize(verdict([30, 3, 2, 4, 3]), NAMES)
    assert "Of 500 images, 458 are kept, 42 relabeled and 0 dropped." in text
    assert "Class 'cat' stands out: 30.0% of its images are flagged, the other classes 2.0% to 4.0%" in text
    assert "of its 30 relabeled ones, 30 look like 'dog'." in text
    assert text.count("stands out:") == 1


def test_without_one_it_says_so_and_what_is_not_known() -> None:
    text = summarize(verdict([3, 3, 2, 4, 3]), NAMES)
    assert "No class stands out: 2.0% to 4.0%" in text
    assert "the largest share in" in text
    assert "was not measured" in text


def test_how_sure_it_is_comes_from_the_kept_images_alone() -> None:
    found, again = verdict([30, 3, 2, 4, 3]), verdict([5, 1, 4, 3, 2])
    assert flagged_rate(again) == 0.03
    text = summarize(found, NAMES, baseline=again)
    assert "On the kept images alone, the same recipe flags 3.0% (1.0% to 5.0% of a class): flags at this rate" in text
    assert "was not measured" not in text
    assert "--baseline true" in summarize(found, NAMES)
    few = summarize(verdict([1, 1], size=2), NAMES, baseline=verdict([1, 0], size=2))
    assert "flags 25.0%: flags" in few  # classes of two images have no rates


GONE = "Classes that are lost, as no image is left to learn them from: "
NEARLY = "Classes that are nearly lost, as a single image, or no more than a 10th of theirs, is left: "


@pytest.mark.parametrize(
    ("had", "left", "sentence"),
    [
        (1, 0, f"{GONE}'owl' (0 of 1)."),
        (40, 0, f"{GONE}'owl' (0 of 40)."),
        (40, 4, f"{NEARLY}'owl' (4 of 40)."),
        (40, 5, None),
        (5, 1, f"{NEARLY}'owl' (1 of 5)."),
        (5, 2, None),
        (1, 1, None),
        (0, 0, None),
    ],
)
def test_a_class_that_loses_its_images_is_named(had: int, left: int, sentence: str | None) -> None:
    label = torch.tensor([0] * 50 + [1] * 50 + [2] * had)
    keep = torch.ones(100 + had, dtype=torch.bool)
    keep[100 + left :] = False
    found = Verdict.keep_mask([str(i) for i in range(len(label))], label, keep)
    text = summarize(found, NAMES[:3])
    assert (warn_of_lost_classes(found, NAMES[:3]) == ["owl"]) == (sentence is not None)  # the log names the same
    if sentence is None:
        assert "lost" not in text
    else:
        assert sentence in text


def test_no_more_than_ten_lost_classes_are_named() -> None:
    label, names = torch.arange(30), [f"c{i}" for i in range(30)]
    text = summarize(Verdict.keep_mask([str(i) for i in range(30)], label, label < 15), names)
    assert "'c24' (0 of 1) and 5 more." in text


def test_a_class_lives_on_in_images_that_are_relabeled_to_it() -> None:
    label = torch.tensor([0] * 10 + [1] * 10)
    new = torch.tensor([1] * 10 + [0] * 10)
    assert "lost" not in summarize(Verdict.from_labels([str(i) for i in range(20)], label, new), NAMES[:2])


def test_names_cannot_steer_a_terminal() -> None:
    assert "\x1b" not in summarize(verdict([30, 3, 2, 4, 3]), NAMES)


def test_two_classes_are_too_few_to_compare() -> None:
    assert "is not known" in summarize(verdict([50, 1]), NAMES)


def test_images_without_a_label_count_in_no_class() -> None:
    label = torch.tensor([0, 0, -1])
    found = Verdict.keep_mask("abc", label, torch.tensor([True, False, False]))
    assert flagged_shares(found, 3)[0].tolist() == [0.5, 0.0, 0.0]
    assert "without a label: 1" in summarize(found, NAMES)


def test_chance_alone_rarely_stands_out() -> None:
    generator = torch.Generator().manual_seed(0)
    total = torch.full((10,), 100)
    draws = torch.binomial(torch.full((1000, 10), 100.0), torch.full((1000, 10), 0.05), generator=generator) / 100
    assert sum(bool((standing_out(row, total) >= 5).any()) for row in draws) < 20


def test_too_few_names_are_refused() -> None:
    with pytest.raises(ValueError, match="classes has 2 names"):
        summarize(verdict([1, 1, 1]), NAMES[:2])


def test_a_verdict_that_flags_too_much_is_doubted() -> None:
    """Without a truth table next to it, the words are all that a user has."""
    assert "may not tell these classes apart" in summarize(verdict([40, 30, 35, 50, 30]), NAMES)
    assert "may not tell" not in summarize(verdict([30, 3, 2, 4, 3]), NAMES)


def test_a_verdict_that_flags_most_images_says_first_that_it_cannot_be_used_and_what_to_do() -> None:
    lines = summarize(verdict([60, 55, 70, 50, 60]), NAMES).splitlines()
    assert lines[0].startswith("THIS VERDICT CANNOT BE USED: it flags 59.0% of the images")
    assert "verdict_from_embedding" in lines[0]
    assert "--short-list" in lines[0]
    assert lines[1].startswith("Of 500 images, 205 are kept")
    assert cannot_be_used(verdict([50, 50, 50, 50, 50])) == ""


def sized(*sizes: int) -> Verdict:
    label = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return Verdict.keep_all([str(i) for i in range(len(label))], label)


def test_a_class_of_another_size_is_named_with_its_size() -> None:
    text = summarize(sized(290, 300, 408, 285, 291), NAMES)
    assert "The size of a class stands out: 'owl' 408, the other classes have 285 to 300." in text


@pytest.mark.parametrize("sizes", [(290, 300, 310, 285, 291), (50, 500, 90, 1000, 200), (10, 10, 10, 14, 10), (5, 900)])
def test_classes_of_usual_or_of_all_sizes_are_not(sizes: tuple[int, ...]) -> None:
    assert "The size of a class" not in summarize(sized(*sizes), NAMES)


def test_the_class_that_relabels_leave_is_named() -> None:
    assert "Of the 12 relabeled images, 9 leave class 'owl'" in summarize(verdict([1, 1, 9, 0, 1]), NAMES)
    assert "leave class" not in summarize(verdict([3, 3, 2, 4, 3]), NAMES)


def test_what_suspicious_images_share_is_said_once() -> None:
    assert summarize(verdict([3, 3, 2, 4, 3]), NAMES, pattern="They share a patch.").count("They share a patch.") == 1


def test_a_thousand_classes_fit_on_a_screen_and_the_rest_is_pointed_to() -> None:
    flagged = [i % 7 for i in range(1000)]
    lines = summarize(verdict(flagged, size=10), [f"class {i}" for i in range(1000)]).splitlines()
    assert len(lines) < 40
    assert "  ... and 980 more classes with smaller shares: the report and verdict.csv have all" in lines
    assert "(60.0% flagged)" in lines[1]


def test_a_class_stands_out_by_what_is_relabeled_too() -> None:
    """An encoder that drops a third of everything: what it relabels for certain still points at one class."""
    label = torch.arange(5).repeat_interleave(100)
    place = torch.arange(100).repeat(5)
    new = torch.where((label == 2) & (place < 10), 4, label)
    found = Verdict.from_labels([str(i) for i in range(500)], label, new, drop=place >= 60 + 5 * label)
    text = summarize(found, NAMES)
    assert "Class 'owl' stands out: 10.0% of its images are relabeled, the other classes 0.0% to 0.0%" in text
    assert "of its 10 relabeled ones, 10 look like 'fox'" in text
    assert text.count("stands out:") == 1


def test_the_recipes_notes_come_first_and_take_the_place_of_what_was_not_measured() -> None:
    words = summarize(Verdict.keep_all("ab", torch.tensor([0, 1])), ["cat", "dog"], notes=("Class 'cat' looks odd.",))
    assert words.splitlines()[0] == "Class 'cat' looks odd."
    assert "--baseline" not in words


def test_names_are_told_in_their_own_letters_and_cannot_steer_a_terminal() -> None:
    label = torch.arange(9) % 3
    text = summarize(Verdict.keep_all([str(i) for i in range(9)], label), ["Müller", "柴犬", "\x1b[31m\u202ered"])
    assert "'Müller'" in text
    assert "'柴犬'" in text
    assert r"'\x1b[31m\u202ered'" in text
    assert all(line.isprintable() for line in text.splitlines())


def test_classes_of_one_size_are_told_as_one() -> None:
    label = torch.tensor([0] * 500 + [c for c in range(1, 8) for _ in range(110)])
    text = summarize(Verdict.keep_all([str(i) for i in range(len(label))], label), list("abcdefgh"))
    assert "The size of a class stands out: 'a' 500, the other classes have 110 each." in text
