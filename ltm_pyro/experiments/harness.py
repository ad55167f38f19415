"""A run as a model of EleutherAI's lm-evaluation-harness, under the name `ltm_pyro`.

`Scorer` says what a run makes of contexts and continuations; `adapter` gives it the harness's
interface. The harness has no way to find models of other packages, so that `register` must be
called before it runs, as `ltm lm-eval` does.
"""

import functools
import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from ltm_pyro.bounds import evaluate
from ltm_pyro.bounds.predictive import DRAWS, FIRST
from ltm_pyro.data.laying import rows_of_documents
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.generation import Sampling, generate
from ltm_pyro.generation.where import codes_of, rows_where
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.options import taken
from ltm_pyro.programs.densities import draw_latents, joined, prior_of
from ltm_pyro.runs.checkpoint import Run, load
from ltm_pyro.seeds import Noise, Stream, derive

NAME = "ltm_pyro"
PROTOCOLS = ("predictive",)
MOST = 256
"""Tokens that are generated at the most, where a task does not say."""
SAID = (
    "ltm_pyro: what the harness calls a log-likelihood is here a code length under thoughts fitted "
    "to the context alone, and never more than the log-probability of that predictor in "
    "expectation: its perplexities are upper bounds, of which it takes no notice"
)


class Scorer:
    """What a run says of continuations of contexts.

    z ~ q(z | context), fitted to the context alone (from the prior where there is none), and::

        log p(continuation | context) = log 1/K sum_k p(continuation | context, z_k)

    That is a code length: fits and draws follow from the seed and the context, so that its exp is
    a probability distribution over continuations. By Jensen's inequality it lies, in expectation
    over draws, below the log-probability under q.

    Args:
        run: a trained run.
        block: tokens of a block of `rolling`, as in the figure `predictive`.
        draws: K.
        fast_steps: of the fit (as in training unless given).
        seed: where all draws come from.
        chunk: contexts fitted at once; bounds the memory.

    Raises:
        InputError: for a run whose model is no `LatentThoughtModel`.
    """

    def __init__(
        self,
        run: Run,
        block: int = 64,
        draws: int = DRAWS,
        fast_steps: int | None = None,
        seed: int = 0,
        chunk: int = 64,
    ):
        if not isinstance(run.model, LatentThoughtModel):
            raise InputError(f"{run.path} holds a {type(run.model).__name__}, which writes no text")
        self.run, self.model, self.tokenizer = run, run.model, run.tokenizer
        self.block, self.draws, self.seed, self.chunk = block, draws, seed, chunk
        self.fast = run.config.fast.changed(fast_steps)
        self.length = run.config.architecture.length
        self.codes = codes_of(run.model, {})

    def continuations(
        self, pairs: Sequence[tuple[list[int], list[int]]]
    ) -> list[tuple[float, bool]]:
        """log p(continuation | context) in nats, and whether its tokens are all the likeliest.

        Args:
            pairs: token ids of contexts and continuations. Where both do not fit a row, a context's
                beginning is left out; a continuation longer than half a row is scored in pieces,
                each with what stands before it for context.
        """
        asked = [self._pieces(*pair) for pair in pairs]
        contexts = list(dict.fromkeys(context for one in asked for context, _ in one))
        scores: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[float, bool]] = {}
        for start in range(0, len(contexts), self.chunk):
            some = contexts[start : start + self.chunk]
            thoughts = dict(zip(some, self._thoughts(some), strict=True))
            for piece in dict.fromkeys(piece for one in asked for piece in one):
                if piece[0] in thoughts:
                    scores[piece] = self._score(*piece, thoughts[piece[0]])
        return [(sum(scores[p][0] for p in one), all(scores[p][1] for p in one)) for one in asked]

    def rolling(self, text: str) -> float:
        """log-probability of a text, a blank or an empty one too, and its end, in nats.

        By the figure `predictive`.
        """
        rows = rows_of_documents(self.tokenizer.encode_documents([text]), self.length)
        report = evaluate(
            self.model, rows, [f"predictive:{self.block}"], guide=self.run.guide, fast=self.fast,
            seed=self.seed, chunk=self.chunk, repeat=0, progress=False,
        )  # fmt: skip
        return -float(report["predictive"].nats.sum())

    def text(self, context: str, options: Mapping[str, Any]) -> str:
        """A continuation, by the harness's options: until, max_gen_toks, do_sample, temperature,
        top_k, top_p; the likeliest tokens unless it says `do_sample` or gives a temperature."""
        until = options.get("until") or []
        stops = [one for one in ([until] if isinstance(until, str) else until) if one]
        most = min(int(options.get("max_gen_toks", MOST)), max(1, self.length // 2))
        if most < 1:
            return ""
        temperature = float(options.get("temperature", 1.0 if options.get("do_sample") else 0.0))
        ids = self.tokenizer.encode(context)
        room = self.length - most
        prompt = context if len(ids) <= room else self.tokenizer.decode(ids[-room:])
        size = len(self.tokenizer.encode(prompt))
        top_k = options.get("top_k")
        sampling = Sampling(
            temperature if options.get("do_sample", temperature > 0) else 0.0,
            int(top_k) if top_k else None,
            float(options.get("top_p", 1.0)),
        )
        written = generate(
            self.model, self.tokenizer, prompt or None, length=min(self.length, size + most),
            sampling=sampling, stop=stops, guide=self.run.guide, fast=self.fast, seed=self.seed,
        )  # fmt: skip
        return written.continuations[0]

    def _pieces(
        self, context: list[int], continuation: list[int]
    ) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """What is scored at once: a context and what follows it, both in a row."""
        whole, begin = [*context, *continuation], len(context)
        fits = len(whole) <= self.length or len(continuation) <= self.length // 2
        size = len(continuation) if fits else max(1, self.length // 2)
        pieces = []
        for start in range(begin, len(whole), max(1, size)):
            end = min(start + size, len(whole))
            first = max(0, end - self.length)
            pieces.append((tuple(whole[first:start]), tuple(whole[start:end])))
        return pieces

    def _thoughts(self, contexts: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """z of each context, (draws, layers, slots, dim)."""
        device = next(self.model.parameters()).device
        given = [context for context in contexts if context]
        found: dict[tuple[int, ...], Tensor] = {}
        if given:
            documents = [(list(context), [0] * len(context)) for context in given]
            rows = rows_where(self.codes, documents, self.length).keyed_by_text().to(device)
            fitted = infer(
                self.model, rows, self.run.guide, self.fast, derive(self.seed, Stream.FIT),
                self.chunk,
            )  # fmt: skip
            drawn = fitted.sample(self.draws, derive(self.seed, Stream.POSTERIOR_THOUGHTS))
            found |= dict(zip(given, drawn.unbind(1), strict=True))
        if len(given) < len(contexts):
            blank = rows_where(self.codes, [([0], [0])], 1).to(device).first(0)
            noise = Noise(derive(self.seed, Stream.PRIOR_THOUGHTS), blank.key)
            with torch.no_grad(), noise.draw():
                latents = draw_latents(prior_of(self.model), blank, FIRST)
            with torch.no_grad():
                found[()] = joined(self.model, latents, blank, noise)[:, 0]
        return [found[context] for context in contexts]

    @torch.no_grad()
    def _score(
        self, context: tuple[int, ...], continuation: tuple[int, ...], z: Tensor
    ) -> tuple[float, bool]:
        """log of the mean over z of p(continuation | context, z), and whether it is greedy."""
        decoder, n = self.model.decoder, len(continuation)
        if not n:
            return 0.0, True
        tokens = torch.tensor([[*context, *continuation]], device=z.device)
        targets = tokens[0, len(context) :]
        wanted = torch.arange(len(context), tokens.shape[1], device=z.device).expand(len(z), -1)
        with decoder.precision():
            h = decoder.read(tokens).expand(len(z), -1, -1)
            logits = linear(decoder.hidden(h, z, wanted), decoder.head)
        each = logits.double().log_softmax(-1)  # draws, tokens, vocabulary
        of_targets = each.gather(-1, targets.expand(len(z), -1)[..., None])[..., 0]
        total = of_targets.cumsum(1)
        before = torch.cat([total.new_zeros(len(z), 1), total[:, :-1]], 1)
        mixture = torch.logsumexp(each + before.log_softmax(0)[..., None], 0)
        greedy = bool((mixture.argmax(-1) == targets).all())
        return float(torch.logsumexp(total[:, -1], 0)) - math.log(len(z)), greedy


@functools.cache
def adapter() -> Any:
    """The class that the harness calls.

    Raises:
        InputError: if the harness is not installed.
    """
    try:
        from lm_eval.api.model import TemplateLM
    except ImportError:
        raise InputError(
            "lm-evaluation-harness is not installed: pip install 'ltm-pyro[lm-eval]'"
        ) from None

    class LtmPyro(TemplateLM):
        """A run of ltm_pyro: `--model ltm_pyro --model_args path=RUN,protocol=predictive`."""

        def __init__(
            self, path: str, protocol: str = "predictive", block: int = 64, draws: int = DRAWS,
            fast_steps: int | None = None, seed: int = 0, chunk: int = 64,
            checkpoint: str = "last", trust: bool = False, device: str | None = "cpu",
            batch_size: Any = None, max_batch_size: Any = None,
        ):  # fmt: skip
            super().__init__()
            if protocol not in PROTOCOLS:
                raise unknown("protocol", protocol, PROTOCOLS)
            for name, value in (("block", block), ("draws", draws), ("chunk", chunk)):
                if taken(name, value, int) < 1:
                    raise InputError(f"{name} is {value}: expected 1 or more")
            # Its command line asks for cuda:0 where nobody did.
            here = device if device and (device != "cuda:0" or torch.cuda.is_available()) else "cpu"
            run = load(str(path), checkpoint, trust, here)
            self.scorer = Scorer(run, block, draws, fast_steps, seed, chunk)
            self.tokenizer = None  # it has no chat template

        @property
        def eot_token_id(self) -> int:
            return self.scorer.tokenizer.end

        @property
        def prefix_token_id(self) -> int:
            return self.scorer.tokenizer.begin  # every row begins with it

        @property
        def tokenizer_name(self) -> str:
            return repr(self.scorer.tokenizer.fingerprint())

        @property
        def max_length(self) -> int:
            return self.scorer.length

        def tok_encode(self, string: str, add_special_tokens: Any = None, **_: Any) -> list[int]:
            return self.scorer.tokenizer.encode(string)

        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
            begin = [self.prefix_token_id]
            pairs = [([] if c == begin else list(c), list(x)) for _, c, x in requests]
            found = self.scorer.continuations(pairs)
            for (texts, _, _), one in zip(requests, found, strict=True):
                self.cache_hook.add_partial("loglikelihood", texts, one)
            return found

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
            found = []
            for request in requests:
                found.append(self.scorer.rolling(request.args[0]))
                self.cache_hook.add_partial("loglikelihood_rolling", request.args, found[-1])
            return found

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            found = []
            for request in requests:
                found.append(self.scorer.text(*request.args))
                self.cache_hook.add_partial("generate_until", request.args, found[-1])
            return found

        def get_model_info(self) -> dict[str, Any]:
            """What the harness writes beside its results."""
            s = self.scorer
            return {
                "model_protocol": (
                    f"predictive: {s.fast.steps} fast steps on the context alone, {s.draws} fresh "
                    f"draws; of whole texts in blocks of {s.block}"
                ),
                "model_is_bound": SAID,
                "model_iteration": s.run.step,
            }

    return LtmPyro


def register() -> Any:
    """Make the harness know the model `ltm_pyro`; returns its class."""
    cls = adapter()
    importlib.import_module("lm_eval.models")  # which lists the harness's own, if it is the first
    from lm_eval.api.registry import model_registry, register_model

    return cls if NAME in model_registry else register_model(NAME)(cls)
