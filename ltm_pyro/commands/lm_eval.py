"""`ltm lm-eval`."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from unittest import mock

from ltm_pyro.commands.text import say
from ltm_pyro.experiments.harness import SAID, register


@dataclass(frozen=True)
class LmEval:
    """Run lm-evaluation-harness, which then knows runs: --model ltm_pyro --model_args path=RUN.

    All options are the harness's own: `ltm lm-eval --help`.
    """

    arguments: tuple[str, ...] = ()
    """What follows `ltm lm-eval`."""

    @classmethod
    def parsed(cls, arguments: Sequence[str]) -> "LmEval":
        """All of them: none is ours."""
        return cls(tuple(arguments))

    def run(self) -> None:
        """Register, and let the harness run."""
        register()
        from lm_eval.__main__ import cli_evaluate

        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        with mock.patch.object(sys, "argv", ["ltm lm-eval", *self.arguments]):
            cli_evaluate()
        say(SAID)
