"""What every command does around the parsing of its arguments: which classes may be imported, and errors in words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cleanse.experiments.arguments import Arguments
from cleanse.experiments.classes import check_trusts_nobody, importing, prepare_classes
from cleanse.experiments.messages import UsageError, explain


@contextmanager
def reading(arguments: Arguments, trust: bool, section: str | None = None) -> Iterator[None]:
    """Parse and make what a config names inside the block.

    Args:
        arguments: of the command.
        trust: import whatever classes the config names; false for classes of ours only.
        section: the part of the config whose classes are made; None for all of it.

    Raises:
        UsageError: the arguments or a config are wrong; says where the wrong value comes from.
        ValueError: the data or a combination of arguments cannot work.
    """
    config: Any = arguments.merged.config
    with importing(everything=trust):
        try:
            if trust:
                prepare_classes(config if section is None else config.get(section))
            else:
                check_trusts_nobody(config)
            yield
        except UsageError as error:
            raise arguments.with_origin(error) from error
        except ValueError as error:
            if "Errors:" not in str(error):
                raise
            # a constructor's refusal, wrapped in the types that were tried
            raise arguments.with_origin(explain(str(error))) from error
