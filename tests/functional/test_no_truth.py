"""What defenses are made of knows nothing of the answer."""

import inspect

import cleanse.functional


def test_no_argument_holds_the_truth():
    """No function takes poison indices, roles, true labels, a target class or a poison rate."""
    told = {"truth", "role", "poison", "poisoned", "true_label", "target", "source", "poison_rate"}
    for name in cleanse.functional.__all__:
        thing = getattr(cleanse.functional, name)
        if inspect.isfunction(thing):
            assert not told & set(inspect.signature(thing).parameters), name
