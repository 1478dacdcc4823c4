"""A parser's message becomes one sentence that names the argument and what would be right."""

import pytest

from cleanse.experiments.messages import explain

UNION = """Parser key "model":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'lightning.pytorch.core.module.LightningModule'>, <class 'NoneType'>]
  Errors:
    - {}
    - Expected a <class 'NoneType'>
  Given value type: <class 'jsonargparse._util.NestedArg'>
  Given value: NestedArg(key='epochs', val='many')"""

CASES = {
    "a value of another type": (
        UNION.format("epochs: give a whole number, not 'many'"),
        "model.epochs: give a whole number, not 'many'",
        ("model", "epochs"),
    ),
    "the innermost parser": (
        "Parser key \"epochs\":\n  Expected a <class 'int'>. Got value: many",
        "epochs: give a whole number, not 'many'",
        ("epochs",),
    ),
    "an argument that there is not": (
        "Option 'epoch' is not accepted",
        "there is no argument 'epoch': did you mean epochs? --model.help NAME, --data.help NAME and fit --help list "
        "them",
        ("epoch",),
    ),
    "the same inside": (
        UNION.format("network: there is no argument 'depth': did you mean width?"),
        "model.network: there is no argument 'depth': did you mean width?",
        ("model", "network", "depth"),
    ),
    "an argument of an argument": (
        "Option 'network.init_args.width' is not accepted",
        "there is no argument 'network.width': --model.help NAME, --data.help NAME and fit --help list them",
        ("network", "width"),
    ),
    "from a config": (
        'Parser key "config": Parser key "model":\n  - lr: give a number, not \'x\'',
        "model.lr: give a number, not 'x'",
        ("model", "lr"),
    ),
    "an unknown name": (
        "unrecognized arguments: --trainer.max_epoch 3",
        "there is no argument --trainer.max_epoch: did you mean --trainer.max_epochs? see cleanse fit --help",
        ("trainer", "max_epoch"),
    ),
    "a name without its section": (
        "unrecognized arguments: --nothing 3",
        "there is no argument --nothing: did you mean --model.nothing, --data.nothing or --trainer.nothing? "
        "see cleanse fit --help",
        ("nothing",),
    ),
    "a word": (
        "unrecognized arguments: photos",
        "'photos' stands alone: arguments are written as --NAME VALUE, and config files as --config FILE",
        (),
    ),
    "a module that may not be named": (
        "Importing 'os.system' is not allowed, denied by the 'os' entry of the import path denylist. Add the import "
        "path to import_path_allowlist in set_parsing_settings to allow it.",
        "os.system is nothing that a config may name: it is not imported",
        (),
    ),
    "a class of others where only ours are imported": (
        "Importing 'mine.Stripe' is not allowed, denied by the '*' entry of the import path denylist.",
        "mine.Stripe does not come with cleanse: it is not imported; add --trust if it is yours",
        (),
    ),
    "one of some": (
        "Parser key \"profile\":\n  Expected a typing.Literal['v1', 'iclr23']. Got value: x",
        "profile: give v1 or iclr23, not 'x'",
        ("profile",),
    ),
    "one of several types": (
        'Parser key "seed_everything":\n  Does not validate against any of the Union subtypes\n  Errors:\n'
        "    - Expected a <class 'bool'>\n    - Expected a <class 'int'>\n    - Expected a <class 'NoneType'>\n"
        "  Given value type: <class 'str'>\n  Given value: abc",
        "seed_everything: give a whole number, true (yes) or false (no), not 'abc'",
        ("seed_everything",),
    ),
    "types and choices": (
        'Parser key "precision":\n    - Expected a typing.Literal[64]\n'
        "    - Expected a typing.Literal['32', 'bf16']\n  Given value: 8",
        "precision: give 64, 32 or bf16, not '8'",
        ("precision",),
    ),
    "an encoder that a check cannot use": (
        'Parser key "model":\n  - Parser key "encoder": Import path does not correspond to a subclass of FrozenEncoder',
        "model.encoder: a check needs an encoder with early features: give cleanse.encoders.EfficientNetLite, or "
        "cleanse.encoders.Timm with the name of one of timm's networks and, if it is not to be downloaded, a file of "
        "weights (torchvision's fit, too): --model.encoder.name resnet50 --model.encoder.weights FILE",
        ("model", "encoder"),
    ),
    "a section": (
        'Parser key "trainer":\nUnable to load config \'7\'\n  - Parser key "trainer": Unable to load config "7"',
        "trainer: a section of a config has no value of its own, as '7': its arguments are given one by one",
        ("trainer",),
    ),
    "a usual name": (
        "unrecognized arguments: --learning-rate 3",
        "there is no argument --learning-rate: did you mean --model.lr 3? see cleanse fit --help",
        ("learning-rate",),
    ),
    "a short name": (
        "unrecognized arguments: -x 3",
        "there is no argument -x: did you mean --model.x, --data.x or --trainer.x? see cleanse fit --help",
        (),
    ),
    "a constructor's refusal": ("class_rate is a fraction above 0 and at most 1, not 1.5",) * 2 + ((),),
    "a refusal that names its argument": ("data.root: 'x' is not a folder",) * 2 + (("data", "root"),),
}


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_the_keys_of_the_value(name: str) -> None:
    message, sentence, keys = CASES[name]
    error = explain(message, ["epochs", "lr", "trainer.max_epochs", "model.epochs"])
    assert str(error) == sentence
    assert error.keys == keys


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("poison_from", "did you mean --config attacks/from_file.yaml --data.attack.poison_from? "),
        ("class_rate", "did you mean --data.attack.class_rate? "),  # every attack's
        ("cover_rate", "did you mean --data.attack.cover_rate? "),  # that of some
        ("limit", ""),
    ],
)
def test_an_attacks_argument_is_named_where_the_data_has_none(name: str, meant: str) -> None:
    message = f"Option '{name}' is not accepted"
    lists = "--model.help NAME, --data.help NAME and fit --help list them"
    assert str(explain(message, ["root", "attack"])) == f"there is no argument '{name}': {meant}{lists}"
    assert "attack" not in str(explain(message, ["root"]))  # not the data's
