"""`ltm generate`."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

import ltm_pyro as ltm


@dataclass(frozen=True)
class Generate:
    """Write text: from the prior, or on from a prompt whose thoughts are inferred."""

    run_folder: Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """Folder of a run."""
    prompt: str | None = None
    """A text to go on from."""
    n: int = 1
    """How many texts."""
    length: int | None = None
    """Tokens, prompt included (default: a full row)."""
    temperature: float = 1.0
    """Logits are divided by it; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together hold this probability."""
    fast_steps: int | None = None
    """Fast steps on the prompt (default: as in training)."""
    seed: int = 0
    """Every draw follows from it."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Generate and print."""
        run = ltm.load(self.run_folder)
        fast = run.config.fast
        if self.fast_steps is not None:
            fast = dataclasses.replace(fast, steps=self.fast_steps)
        found = ltm.generate(
            run.model,
            run.tokenizer,
            self.prompt,
            self.n,
            length=self.length,
            temperature=self.temperature,
            top_p=self.top_p,
            guide=run.guide,
            fast=fast,
            seed=self.seed,
        )
        if self.json:
            samples = [
                {"prompt": p, "continuation": c, "text": p + c}
                for p, c in zip(found.prompts, found.continuations, strict=True)
            ]
            print(json.dumps({"samples": samples, "seed": self.seed}, indent=2))
        else:
            print(found)
