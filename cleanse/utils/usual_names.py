"""What an argument is called here that other tools call by a usual name."""

from collections.abc import Collection

USUAL: dict[str, tuple[str, ...]] = {
    "seed random_seed random_state manual_seed": ("--seed_everything {}",),
    "lr learning_rate": ("--model.lr {}",),
    "epochs epoch num_epochs n_epochs max_epochs": ("--model.epochs {}",),
    "batch_size batchsize batch bs": ("--data.batch_size {}",),
    "gpu cuda": ("--trainer.accelerator gpu",),
    "cpu": ("--trainer.accelerator cpu",),
    "device accelerator": ("--trainer.accelerator {}",),
    "gpus num_gpus n_gpu ngpus devices": ("--trainer.devices {}",),
    "precision amp": ("--trainer.precision {}",),
    "workers num_workers n_workers n_jobs jobs j cpus": ("--workers {}", "--threads {}"),
    "output out o outdir out_dir output_dir output_path save_dir save logdir log_dir results": (
        "--out {}",
        "--root {}",
    ),
    "size image_size img_size imgsz input_size resolution": ("--data.size {}",),
    "labels label_file labels_file csv table": ("--data.labels {}",),
    "classes class class_names num_classes n_classes nclasses": ("--data.only {}",),
    "folder dataset data_dir data_path data_root images image_dir input input_dir dir path": (
        "--images {}",
        "--config data/folder.yaml --data.root {}",
    ),
    "attack": ("--config attacks/{}.yaml",),
    "recipe defense method": ("--config {}.yaml",),
    "poison_rate rate": ("--data.attack.poison_rate {}",),
    "target target_class": ("--data.attack.target {}",),
}
"""Usual names, lower-case with ``_``, and the arguments of commands that mean the same, the best first."""


def usual_name(name: str, value: str, own: Collection[str]) -> str:
    """A question with the argument of a command that a usual name means, and a space after it; empty for other names.

    Args:
        name: with or without dashes.
        value: that it was given; empty if it had none.
        own: the arguments of the command, without dashes, or what is before their first dot.

    >>> usual_name("--seed", "3", ["seed_everything"]), usual_name("--random-seed", "", ["seed_everything"])
    ('did you mean --seed_everything 3? ', 'did you mean --seed_everything? ')
    >>> usual_name("--output", "x", ["root"]), usual_name("--lr", "1", ["root"]), usual_name("--nothing", "", ["root"])
    ('did you mean --root x? ', '', '')
    """
    plain = name.lstrip("-").lower().replace("-", "_")
    for option in next((options for names, options in USUAL.items() if plain in names.split()), ()):
        if option.lstrip("-").partition(" ")[0].partition(".")[0] in own:
            return f"did you mean {option.format(value) if value else option.partition(' {}')[0]}? "
    return ""
