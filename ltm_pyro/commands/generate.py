"""`ltm generate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import UseAppendAction

import ltm_pyro as ltm
from ltm_pyro.commands.text import as_json, say, show
from ltm_pyro.errors import InputError
from ltm_pyro.generation import Generation, rethink
from ltm_pyro.models.size import check_memory
from ltm_pyro.options import Count, Fraction, NotNegative, Whole
from ltm_pyro.runs.asked import AskedRun


@dataclass(frozen=True)
class Generate(AskedRun):
    """Write text: from the prior, or on from prompts whose thoughts are inferred."""

    prompt: UseAppendAction[tuple[str, ...]] = ()
    """A text to go on from; may be given several times."""
    prompts_file: Path | None = None
    """A file of prompts, one a line."""
    n: Count = 1
    """How many texts, of each prompt if there are any."""
    length: Count | None = None
    """Tokens, prompt included (default: a full row)."""
    temperature: NotNegative = 1.0
    """Logits are divided by it; 0 takes the likeliest token."""
    top_k: Count | None = None
    """Draw from this many of the likeliest tokens."""
    top_p: Fraction = 1.0
    """Of these, draw from the likeliest that together hold this probability."""
    stop: UseAppendAction[tuple[str, ...]] = ()
    """A text ends before this string; may be given several times."""
    where: UseAppendAction[tuple[str, ...]] = ()
    """COLUMN=VALUE, for a prior or model that reads a column; may be given several times."""
    progressive: Annotated[Count | None, tyro.conf.arg(metavar="M")] = None
    """Fit thoughts anew after every M tokens, to the prompt and what is written."""
    rethink: Annotated[Whole | None, tyro.conf.arg(metavar="ROUNDS")] = None
    """Search: write each text again so often under thoughts fitted to the best so far, and keep
    what its own thoughts explain best (nats/token). What is kept is no draw of the model."""
    stream: bool = False
    """Print a text as it is written; of several texts, each as soon as it has ended."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Generate and print."""
        if self.stream and self.json:
            raise InputError("--stream prints text as it comes, --json one object: choose one")
        if self.rethink is not None and (self.stream or self.progressive is not None):
            other = "--stream" if self.stream else "--progressive"
            raise InputError(f"--rethink and {other} do not go together: leave one out")
        prompts = list(self.prompt)
        if self.prompts_file is not None:
            prompts += read_prompts(self.prompts_file)
        run = self.loaded
        check_memory(
            {f"{self.n:,} texts of each prompt": self.n * max(1, len(prompts)) * 256}, "--n"
        )
        printer = Printer([text for text in prompts or [""] for _ in range(self.n)])
        asked: dict[str, Any] = {
            "length": self.length,
            "sampling": ltm.Sampling(self.temperature, self.top_k, self.top_p),
            "stop": self.stop,
            "where": self.columns(),
            "guide": run.guide,
            "fast": self.fast,
            "seed": self.seed,
        }
        given = (run.model, run.tokenizer, prompts or None, self.n)
        more: dict[str, Any] = {}
        found: Generation
        if self.rethink is not None:
            searched = found = rethink(*given, rounds=self.rethink, **asked)
            more = {"search_scores": searched.scores.tolist(), "kept": searched.kept.tolist()}
            say(found.protocol)
        else:
            found = ltm.generate(
                *given,
                **asked,
                progressive=self.progressive,
                on_text=printer.on_text if self.stream else None,
                on_end=printer.on_end if self.stream else None,
            )
        if self.json:
            samples = [
                {"prompt": prompt, "continuation": continuation, "text": text, "ended": ended}
                for prompt, continuation, text, ended in zip(
                    found.prompts, found.continuations, found.texts, found.ended, strict=True
                )
            ]
            told = {"samples": samples, "protocol": found.protocol, "seed": self.seed}
            show(as_json({**told, **more}))
        elif not self.stream:
            show(str(found))

    def columns(self) -> dict[str, str]:
        """The value of each column, by name."""
        for one in self.where:
            if "=" not in one:
                raise InputError(
                    f"--where {one}: expected COLUMN=VALUE, e.g. --where author=austen"
                )
        return {name: value for name, _, value in (one.partition("=") for one in self.where)}


class Printer:
    """Prints texts while they are written, given the prompt of each.

    One text appears piece by piece. Several are written side by side, so each appears whole when
    it has ended.
    """

    def __init__(self, prompts: list[str]):
        self.waiting = list(prompts)
        self.ended = 0

    def on_text(self, index: int, piece: str) -> None:
        """A text has grown."""
        self.waiting[index] += piece
        if len(self.waiting) == 1:
            show(self.waiting[0], end="")
            self.waiting[0] = ""

    def on_end(self, index: int) -> None:
        """A text has ended."""
        if self.ended:
            show("-" * 72)
        show(self.waiting[index])
        self.ended += 1


def read_prompts(path: Path) -> list[str]:
    """The lines of a file that are not blank.

    Raises:
        InputError: if it cannot be read, is not UTF-8, or has none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read prompts from {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}): "
            "convert it, e.g. iconv -f latin1 -t utf-8"
        ) from None
    prompts = [line for line in text.split("\n") if line.strip()]
    if not prompts:
        raise InputError(f"{path} holds no prompt: expected one a line")
    return prompts
