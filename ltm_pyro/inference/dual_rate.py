"""Dual-rate stochastic variational inference: local guides fast, global weights slowly."""

import dataclasses
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltm_pyro.config import Fast, Objective, Slow, Warm
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Guide
from ltm_pyro.guides.mean_field import MeanField
from ltm_pyro.inference.checks import check_importance, check_model, check_step, with_gradients
from ltm_pyro.inference.covering import Covering
from ltm_pyro.inference.fitting import Callback, iterate
from ltm_pyro.inference.history import Fit, StepReport
from ltm_pyro.inference.local import InnerLoop, MakeGuide, fit_guide, step_along
from ltm_pyro.inference.memory import Memory
from ltm_pyro.inference.posterior import Posterior, infer
from ltm_pyro.inference.schedule import slow_rate
from ltm_pyro.inference.slow_step import SlowStep
from ltm_pyro.inference.world import ALONE, World
from ltm_pyro.models.base import TextModel
from ltm_pyro.models.decoders.computing import computing
from ltm_pyro.options import Count, Whole, checked, taken
from ltm_pyro.programs.elbo import assert_finite, bound_terms, frozen
from ltm_pyro.programs.proper import check_prior_proper
from ltm_pyro.programs.reading import warn_of_cut_documents
from ltm_pyro.seeds import Noise, Stream, derive

SITE = "site "
"""What the names of observed sites begin with among numbers of documents."""


class DualRateSVI:
    """SVI with an optimizer and a step count for each of the two kinds of parameters.

    For a batch, `step` makes a fresh guide, takes `fast.steps` steps in its local parameters with
    the model frozen, then `slow.steps` steps in the model's parameters with the guide frozen
    (Algorithm 1 of Kong et al. 2025). The guide is gone when the step ends; Pyro's parameter
    store is never used. With a warm start (`Warm`) a document's local parameters are remembered
    from one visit to the next, and the slow step can move them too.

    Args:
        model: a Pyro model of text; its parameters (decoder, learned prior) are global ones.
        guide: a guide class, or a `functools.partial` of one, called with (thoughts, batch_size)
            for every batch. What guides share (`Guide.of`) is global, trained with the model.
        fast: the fast loop.
        slow: the slow step.
        objective: the KL's weight over training; the ELBO unless given.
        seed: every draw is derived from it and the step's number.
        warm: a warm start, where documents are to have one.
        world: the processes that train together (`world.here()`); this one alone unless given.

    Attributes:
        done: iterations so far.
        memory: local parameters of documents, for a warm start; see `remember`.
        documents: how many there are; `fit` sets it. Sites that all share are counted by it.
        fitted: what the last call of `fit` has left, also where it was interrupted.
        slowly: the slow step, with its optimizer.
    """

    @checked
    def __init__(
        self,
        model: TextModel,
        guide: MakeGuide = MeanField,
        fast: Fast | None = None,
        slow: Slow | None = None,
        objective: Objective | None = None,
        seed: Whole = 0,
        warm: Warm | None = None,
        world: World = ALONE,
    ):
        check_model(model)
        self.warm, self.world = warm, world
        self.memory: Memory | None = None
        self.model, self.guide, self.seed = model, guide, seed
        self.fast, self.slow = fast or Fast(), slow or Slow()
        self.objective = objective or Objective()
        check_importance(self.slow, self.objective, warm)
        self.done, self._looked = 0, False
        self.fitted = Fit()
        self._covers: Covering | None = None
        self.shared: nn.Module | None = getattr(guide, "keywords", {}).get("shared")
        self.documents: int | None = None
        self.batch_size: int | None = None
        self.slowly = SlowStep(model, self.shared, self.slow, world)

    def remember(self, rows: AnyRows, folder: Path | None = None) -> None:
        """Make the memory of a warm start for these rows; in a folder, or in memory alone."""
        self.memory = Memory(rows, folder)

    def global_parameters(self) -> list[nn.Parameter]:
        """What the slow step trains: decoder, learned prior, and what guides share."""
        shared = [] if self.shared is None else list(self.shared.parameters())
        return [*self.model.parameters(), *shared]

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The slow step's."""
        return self.slowly.optimizer

    @optimizer.setter
    def optimizer(self, given: torch.optim.Optimizer) -> None:
        self.slowly.optimizer = given

    def kl_weight(self, total: int | None) -> float:
        """The KL's weight in the next step, of `total`."""
        return self.objective.weight(self.done, total)

    @checked
    @with_gradients
    @torch.enable_grad()
    def step(self, batch: Rows, total: Count | None = None) -> StepReport:
        """One iteration on a batch.

        Args:
            batch: rows of tokens; in a `world` of several processes the same in each, which takes
                its part of them.
            total: iterations that the schedules span; without it the slow rate stays at `slow.lr`
                after its warm-up and the KL's weight is its last.
        """
        start = time.perf_counter()
        batch = self.world.share(batch, owned=self.warm is not None)
        like = self.world.like(batch)
        check_step(self.model, self.global_parameters(), like)
        if self.warm is not None and self.memory is None:
            raise InputError(
                "a warm start has to know its documents: call svi.remember(rows) with all of them "
                "before svi.step(batch), or train with svi.fit(rows, steps)"
            )
        if not self._looked:
            check_prior_proper(self.model, like)
            self._looked = True
        visit, memory = self.fast, None
        if self.warm is not None:
            visit, memory = dataclasses.replace(visit, steps=self.warm.steps), self.memory
        batch = batch.to(next(self.model.parameters()).device)
        tokens = self.world.tokens(batch)
        size = max(1, -(-len(batch) // self.slow.accumulate))
        weight = self.kl_weight(total)
        self.slowly.forget()
        fitted: list[tuple[Guide, Rows, Noise]] = []
        loops: list[InnerLoop] = []
        for part in list(batch.split(size)):
            guide = self._covering(part).guide(len(part))
            if guide.shared is not self.shared:
                raise InputError(
                    f"{type(guide).__name__} comes with a shared module that would not be trained: "
                    "pass the guide as functools.partial(cls, shared=module), or cls.of(model)"
                )
            seed = derive(self.seed, Stream.TRAIN, self.done)
            noise = self.fast.draws(seed, part.key)
            inner = fit_guide(
                self.model, guide, part, visit, noise, weight, self.objective.free_bits,
                memory, leak=self.fast.leaks,
            )  # fmt: skip
            loops.append(inner)
            fitted.append((guide, part, noise))
        if self.fast.leaks:  # what leaked is in nats; the slow gradient is in nats per token
            for parameter in self.global_parameters():
                if parameter.grad is not None:
                    parameter.grad /= tokens
        self.slowly.set_rates(self.done, total)
        for slow_step in range(self.slow.steps):
            if slow_step > 0:
                self.slowly.forget()
            own = self._backward(fitted, tokens, weight) if fitted else self._nothing(like)
            seen, norm = self.slowly.take(own, batch)
            if slow_step == 0:
                first, first_norm = seen, norm
        self.done += 1
        return StepReport(
            step=self.done,
            log_likelihood=first["log_likelihood"],
            kl=first["kl"],
            tokens=self.world.lengths(batch),
            gradient_norm=first_norm,
            lr=slow_rate(self.slow, self.done - 1, total),
            kl_weight=weight,
            objective=float(-first["objective"].sum() / tokens),
            seconds=time.perf_counter() - start,
            inner=InnerLoop.concatenate(loops),
            by_site={s.removeprefix(SITE): x for s, x in first.items() if s.startswith(SITE)},
        )

    def _of_documents(self) -> int:
        """How many documents share what the guide has outside their plate."""
        if self.documents is None:
            raise InputError(
                "the model samples sites that all documents share, and their KL is counted once: "
                "train with svi.fit(rows, steps), or set svi.documents = len(rows) before svi.step"
            )
        return self.documents

    def _covering(self, rows: AnyRows) -> Covering:
        """How the guide covers the model's sites; read once."""
        if self._covers is None or self._covers.make is not self.guide:
            self._covers = Covering(self.model, self.guide, rows)
            warn_of_cut_documents(self._covers.sites, rows, type(self.model).__name__)
        return self._covers

    def _backward(
        self, fitted: list[tuple[Guide, Rows, Noise]], tokens: float, weight: float
    ) -> dict[str, Tensor]:
        """Add the slow gradient; returns log-likelihood, KL and objective per document, nats, and
        the log-likelihood by observed site.

        Where a warm start has a rate, also a step of local parameters, along the same pass.
        """
        lr = self.warm.lr if self.warm is not None else 0.0
        seen: dict[str, list[Tensor]] = {}
        joint = self.memory if lr else None
        for guide, part, noise in fitted:
            guide.zero_grad()
            still = nullcontext() if joint is not None else frozen(guide)
            with still, computing(self.slow, self.model), noise.draw():
                terms = bound_terms(self.model, guide, part, self.slow.importance)
            assert_finite(terms, f"the slow step of iteration {self.done + 1}")
            objective = terms.objective(weight, self.objective.free_bits)
            with frozen(guide):
                loss = -objective.mean(0)
                for part_of in (guide, getattr(self.model, "prior", None)):
                    extra = None if part_of is None else part_of.slow_loss()
                    loss = loss if extra is None else loss + extra
                for term in terms.kl_shared.values():  # this part's share of it, once an epoch
                    loss = loss + weight * term.mean() / self._of_documents()
            (loss.sum() / tokens).backward()
            if joint is not None:
                for parameter in guide.parameters():  # the fast loop's gradients are in nats
                    parameter.grad = None if parameter.grad is None else parameter.grad * tokens
                step_along(guide, self.fast, lr, noise, weight)
                joint.remember(guide, part)
            parts = {"log_likelihood": terms.log_likelihood, "kl": terms.kl, "objective": objective}
            parts |= {SITE + site: term for site, term in terms.by_site.items()}
            for name, term in parts.items():
                seen.setdefault(name, []).append(term.mean(0).detach())
        return {name: torch.cat(terms) for name, terms in seen.items()}

    def _nothing(self, like: Rows) -> dict[str, Tensor]:
        """What `_backward` returns in a process that has none of a batch's documents."""
        sites = self._covering(like).sites
        latent = sites.of_kind("local") or sites.of_kind("shared")
        # Weighted draws have no likelihood by site; without latents there are none, see bound_terms
        seen = {} if latent and self.slow.importance > 1 else sites.of_kind("observed")
        names = ("log_likelihood", "kl", "objective", *(SITE + site for site in seen))
        return {name: torch.zeros(0) for name in names}

    @checked
    @with_gradients
    def fit(
        self,
        rows: AnyRows,
        steps: Whole,
        batch_size: Count = 16,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> Fit:
        """`steps` more iterations on shuffled batches of `rows`.

        Each callback is called with (svi, report) after every iteration. Returns the history;
        `fit(...).history` is a DataFrame with one row an iteration.

        Ctrl-C ends it with a KeyboardInterrupt after the iteration in hand, and a call for those
        that are left goes on as if there had been none; a second Ctrl-C does not wait.
        """
        if self.warm is not None and self.memory is None:
            self.remember(rows)
        self.documents, self.batch_size = len(rows), batch_size
        self.fitted = Fit()
        shown = progress and self.world.first
        iterate(self, rows, self.done + steps, callbacks, shown, self.fitted)
        return self.fitted

    @checked
    def infer(
        self,
        rows: AnyRows | Sequence[str] | str,
        steps: Whole | None = None,
        seed: Whole | None = None,
        chunk: Count = 64,
        tokenizer: Tokenizer | None = None,
    ) -> Posterior:
        """Fit guides to rows, `chunk` at a time; `steps` fast steps instead of `fast.steps`.

        Texts will do for rows, with the `tokenizer` that makes rows of them.
        """
        fast = self.fast if steps is None else dataclasses.replace(self.fast, steps=steps)
        seed = self.seed if seed is None else seed
        return infer(self.model, rows, self.guide, fast, seed, chunk, tokenizer)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the model's weights that the next step depends on."""
        return {"done": self.done, "seed": self.seed, "optimizer": self.slowly.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            InputError: for the state of another optimizer, or of other parameters.
        """
        done, seed = taken("done", state["done"], Whole), taken("seed", state["seed"], Whole)
        self.slowly.load_state_dict(state["optimizer"])
        self.done, self.seed = done, seed
