"""`ltm train`."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import tyro

import ltm_pyro as ltm
from ltm_pyro.commands.beside import check_options, shared_out
from ltm_pyro.commands.text import say
from ltm_pyro.config import Config
from ltm_pyro.data.prepared import check_given, is_prepared
from ltm_pyro.errors import InputError
from ltm_pyro.files import storage
from ltm_pyro.inference.processes import here
from ltm_pyro.runs import checkpoint, folder
from ltm_pyro.runs.checks import check_fits
from ltm_pyro.runs.copies import fetch, folder_of
from ltm_pyro.runs.copying import CopyTo
from ltm_pyro.runs.devices import device_named
from ltm_pyro.runs.recipe import Recipe
from ltm_pyro.runs.record import config_from, read_config
from ltm_pyro.runs.repeating import unlike
from ltm_pyro.runs.training import for_corpus, is_restarted
from ltm_pyro.runs.trust import check_code, check_data, explain


@dataclass(frozen=True, kw_only=True)
class Train(Recipe):
    """Train a latent-thought model on text.

    The least to say: ltm train --data stories.txt --out runs/stories
    """

    many: ClassVar[bool] = True  # processes may do it together

    out: Path
    """Folder of the run."""
    repeat: Annotated[str | None, tyro.conf.arg(name="config", metavar="JSON")] = None
    """Repeat a run from its config.json, its folder or a copy's URL, or train a configuration
    written as JSON; may stand beside --out, --steps, --seed, --overwrite, --resume, --quiet,
    --device and the options of the text."""
    grow_on: Annotated[str | None, tyro.conf.arg(name="from", metavar="RUN")] = None
    """Grow thoughts on a trained decoder, on its text unless --data is given: its control's, if the
    run has one, else its model's, whose own thoughts are left behind. It sets the architecture."""
    copy_to: str | None = None
    """A URL (s3://bucket/runs/one) or folder where a copy of the run is kept as it was saved last;
    commands take it in place of RUN, and --resume begins with it where --out holds no run."""
    resume: bool = False
    """Go on from the last checkpoint as the run was configured; --steps and --data may be given."""
    overwrite: bool = False
    """Replace the run that the folder holds."""
    trust: bool = False
    """With --config or --resume: import classes outside ltm_pyro that it names, and read its text
    wherever that lies."""
    quiet: bool = False
    """No progress bar."""
    device: str = "cpu"
    """Where it is computed: cpu, cuda, cuda:1; a run goes on anywhere."""

    @classmethod
    def parsed(cls, arguments: Sequence[str], **required: Any) -> Self:
        """From the command line; see `Recipe.parsed`."""
        made = super().parsed(arguments, out=tyro.MISSING, **required)
        check_options(made.given)
        return made

    def grown(self, run: ltm.Run) -> Config:
        """The configuration of new thoughts on a run's decoder."""
        architecture = run.config.architecture
        shared = "thoughts.layers" in self.given and self.thoughts.layers == 1
        thoughts = dataclasses.replace(self.thoughts, layers=1 if shared else architecture.layers)
        before = run.config.data
        columns = dict.fromkeys(before.columns, ())  # whose values are those of the text
        data = self.text.over(dataclasses.replace(before, columns=columns))
        check_data(run.path, data, run.record, self.trust, self.given)
        # Made as of any other sizes, so that what is wrong with it is told by its name.
        made = dataclasses.replace(self, architecture=architecture, thoughts=thoughts)
        return made.config().replace(
            architecture=architecture, data=data, decoder=run.config.decoder
        )

    def repeated(self, file: Path) -> tuple[Config, ltm.Tokenizer | None, Mapping[str, Any] | None]:
        """The configuration in a file; of a run, its tokenizer and its record too."""
        config, record = config_from(file)
        check_code(file, config, record or {}, self.trust)
        asked = {name: getattr(self.training, name) for name in ("steps", "seed")
                 if name in self.given}  # fmt: skip
        training = dataclasses.replace(config.training, **asked)
        before = config.data
        config = config.replace(data=self.text.over(before), training=training)
        config = shared_out(config, self.slow, self.given)
        beside = file if file.is_dir() else file.parent
        own = record is not None and config.data == before  # not for other text
        if record is not None:
            check_data(file, config.data, record, self.trust, self.given)
        if own and (beside / folder.TOKENIZER).exists():
            return config, checkpoint.load_tokenizer(beside), record
        if record is not None:  # the values of its columns belong to its text, as its tokenizer did
            data = dataclasses.replace(config.data, columns=dict.fromkeys(config.data.columns, ()))
            config = config.replace(data=data)
            if data.tokenizer is not None and not self.trust:
                raise InputError(
                    f"{file} has its tokenizer from {data.tokenizer}, which would be read, or the "
                    "hub asked for it: say --trust for that"
                )
        return config, None, record

    def resumed(self) -> tuple[Config, ltm.Tokenizer]:
        """The run's own configuration; only the number of steps and the text's place may change."""
        config, record = read_config(self.out)
        check_code(self.out, config, record, self.trust, self.names())
        say(f"resuming {self.out} with its own configuration")
        steps = (self if "steps" in self.given else config).training.steps
        training = dataclasses.replace(config.training, steps=steps)
        config = config.replace(data=self.text.over(config.data), training=training)
        config = shared_out(config, self.slow, self.given)
        check_data(self.out, config.data, record, self.trust, self.given)
        return config, checkpoint.load_tokenizer(self.out)

    def names(self) -> set[str]:
        """The names of classes that stand on the command line."""
        optimizers = {self.fast.optimizer, self.slow.optimizer}
        return {self.model, self.decoder, self.prior, self.guide, *self.callback, *optimizers}

    def run(self) -> int:
        """Train, and say where the run is and how to go on; 128 + N if signal N stopped it."""
        world = here()
        if not self.resume and is_restarted(self.out, world):
            return dataclasses.replace(self, resume=True).run()
        copies = [CopyTo(self.copy_to)] if self.copy_to else []
        if world.first:
            if self.resume and self.copy_to and not folder.holds_run(self.out):
                fetch(storage.place(self.copy_to), self.out)
                say(f"fetched {self.out} from {self.copy_to}")
            ltm.check_folder(self.out, self.resume, self.overwrite)
        world.wait()
        tokenizer = record = source = None
        if self.resume:
            config, tokenizer = self.resumed()
        elif self.repeat is not None:
            config, tokenizer, record = self.repeated(folder_of(self.repeat))
        elif self.grow_on is not None:
            source = ltm.load(self.grow_on, trust=self.trust)
            config, tokenizer = self.grown(source), source.tokenizer
        else:
            config = self.config()
        device_named(world.device(self.device))
        check_fits(config)
        self.check_names(config)
        with world.in_turn():
            corpus = ltm.load_data(config, tokenizer)
        given = {"layout": self.layout, "vocabulary": self.vocabulary}
        if is_prepared(config.data.source):
            check_given(corpus, {n: v for n, v in given.items() if n in self.given})
        say(f"data: {corpus}")
        for note in (*corpus.notes, held_out(corpus)):
            say(f"data: {note}")
        if record is not None:
            for difference in unlike(record, corpus):
                say(f"not the same as {self.repeat}: {difference}")
        run = ltm.train(
            config if self.resume else for_corpus(config, corpus),
            self.out,
            corpus,
            resume=self.resume,
            overwrite=self.overwrite,
            progress=not self.quiet,
            note=say,
            device=self.device,
            grow_on=source,
            callbacks=copies,
        )
        if run.step < config.training.steps:
            on = folder.resume_command(run.path)
            say(f"stopped and saved after {run.step} iterations; {on} goes on")
            return 128 + run.stopped if run.stopped else 0
        say(f"run: {run.path}, {run.step} iterations; next: ltm evaluate {run.path}")
        return 0

    def check_names(self, config: Config) -> None:
        """Tell a wrong name or option before the long part."""
        try:
            super().check_names(config)
        except InputError as error:
            if not self.resume:
                raise
            raise explain(error, self.out, read_config(self.out)[1]) from None


def held_out(corpus: ltm.Corpus) -> str:
    """How much of a corpus is trained on, and how much is kept back."""
    parts = {split: corpus.rows(split) for split in ("train", "valid", "test")}
    whole = sum(rows.token_count for rows in parts.values())
    said = (f"{rows.token_count / whole:.1%} ({len(rows):,} rows)" for rows in parts.values())
    return "trained on {} of the tokens; held out {} for validation, {} for test".format(*said)
