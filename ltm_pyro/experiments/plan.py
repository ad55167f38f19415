"""What training takes: operations, memory, bytes sent and time, from sizes alone (`ltm plan`).

Operations and bytes are counted, exactly, of the Transformer with a factorised guide. Time follows
from them and from what a machine does: how fast it multiplies matrices, which share of that
training reaches, what a launch costs, how fast processes exchange bytes. `plan_check` compares all
of it with what runs here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ltm_pyro.config import Config
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.experiments.studies.base import markdown
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.models.decoders.attention import DENSE
from ltm_pyro.models.priors.normal import StandardNormal
from ltm_pyro.models.size import parameters_of
from ltm_pyro.options import Count, Fraction, NotNegative, Positive, take_fields

WORTH = 0.5
"""Efficiency below which more processes are called no longer worth it."""


@dataclass(frozen=True)
class Machine:
    """What a process computes on, and how processes exchange gradients.

    Attributes:
        flops: FLOP/s of a large matrix product.
        share: of that, what an iteration reaches on large batches.
        memory: bytes.
        number: bytes of a number that is kept for the backward pass.
        launch: seconds that a layer's pass takes at least, however small.
        link, network: bytes a second that a process sends within a node, and between nodes.
        node: processes of a node.
        measured: where these come from, in words.
    """

    flops: Positive
    share: Fraction
    memory: Positive
    number: Positive = 4.0
    launch: NotNegative = 0.0
    link: Positive = 450e9
    network: Positive = 50e9
    node: Count = 8
    measured: str = ""

    def __post_init__(self) -> None:
        take_fields(self)


H100 = Machine(
    754e12, 0.164, 80e9, number=2.3, launch=5e-4,
    measured="products at 754 TFLOP/s in bf16, 16.4 % of it in training (compiled) and 2.3 bytes a "
    "number as measured on an H100 with 32 x 1,024 tokens (docs/results/performance.md); taken, "
    "not measured: 0.5 ms a layer and pass, 450 GB/s within a node of 8, 50 GB/s between nodes",
)  # fmt: skip
GPUS = {
    "h100": H100,
    "h200": replace(H100, memory=141e9, measured=f"an H200 is taken for an H100 with 141 GB; "
                    f"{H100.measured}"),
}  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What an iteration of a configuration takes, counted.

    Of the Transformer with a factorised guide and one particle: forward and backward passes, matrix
    products and attention, two operations for each multiplication and addition.

    Raises:
        InputError: for another decoder or guide.
    """

    config: Config

    def __post_init__(self) -> None:
        for part, known in (("decoder", "transformer"), ("guide", "mean-field")):
            name = getattr(self.config, part).name
            if name != known:
                raise InputError(f"{part} {name}: costs are counted of the {known} alone")
        c, plain = self.config, Config(self.config.architecture, self.config.thoughts)
        for rate, names in (("fast", ("particles", "tokens", "recompute")),
                            ("slow", ("steps", "importance", "recompute"))):  # fmt: skip
            for name in names:
                given, known = (getattr(getattr(one, rate), name) for one in (c, plain))
                if given != known:
                    raise InputError(f"{rate}.{name} {given}: costs are counted for {known} alone")
        for name, given in (("warm", c.warm), ("training.speak", c.training.speak)):
            if given:
                raise InputError(f"{name}: costs are counted without it alone")

    @property
    def loop_flops(self) -> float:
        """A token's, once a loop: what stands before the first look at z."""
        width = self.config.architecture.width
        return 8 * width**2 + 4 * width * self._keys

    @property
    def fast_flops(self) -> float:
        """A token's, in a fast step: forward, and backward to z alone.

        The head takes two products, its logits and their slope (`models.decoders.head`).
        """
        a, t = self.config.architecture, self.config.thoughts
        read = 2 * self._products + 12 * a.width * (self._keys + t.slots) + 8 * self._thoughts
        before = 18 * a.width**2 + 12 * a.width * self._keys + 2 * a.width * t.slots
        return a.layers * read - before + 4 * a.width * a.vocabulary

    @property
    def slow_flops(self) -> float:
        """A token's, in the slow step, whose head makes its logits twice."""
        a, t = self.config.architecture, self.config.thoughts
        read = 3 * self._products + 12 * a.width * (self._keys + t.slots) + 12 * self._thoughts
        return a.layers * read + 8 * a.width * a.vocabulary

    @property
    def flops(self) -> float:
        """A token's, in an iteration."""
        steps = self.config.fast.steps
        fast = self.loop_flops + steps * self.fast_flops if steps else 0.0
        return fast + self.slow_flops

    @cached_property
    def parameters(self) -> int:
        """Of the model, but for its prior, which may be a stranger's: it is not imported."""
        found = parameters_of(lambda: LatentThoughtModel(self.config, StandardNormal))
        assert found is not None  # of the library's own decoder
        return found

    def memory(self, rows: int, number: float, processes: int = 1) -> float:
        """Bytes that an iteration on so many rows takes: weights and what is kept for gradients.

        Of each weight see `weight_bytes`; of each token and layer 15 numbers a unit of width and 4
        a unit of the feed-forward layer.
        """
        a = self.config.architecture
        kept = a.layers * (15 * a.width + 4 * a.feedforward) + 8 * a.width
        weights = weight_bytes(processes, self.config.slow.sharded) * self.parameters
        return weights + number * kept * rows * a.length + HEAD

    def sent(self, processes: int) -> float:
        """Bytes that each process sends an iteration: one reduction of the gradients, in a ring."""
        return 2 * (processes - 1) / processes * 4 * self.parameters

    @property
    def _products(self) -> int:
        """Operations of a layer's matrices for a token, forward."""
        a = self.config.architecture
        return 12 * a.width**2 + 6 * a.width * a.feedforward

    @property
    def _thoughts(self) -> float:
        """A token's share of making keys and values of a layer's thoughts."""
        a, t = self.config.architecture, self.config.thoughts
        return t.dim * a.width * t.slots / a.length

    @property
    def _keys(self) -> float:
        """Keys that a query is multiplied with: blocks of a window see two of them."""
        a = self.config.architecture
        if a.length <= max(2 * a.window, DENSE):
            return a.length
        return -(-a.length // a.window) * a.window * 2 * a.window / a.length


def weight_bytes(processes: int, sharded: bool) -> float:
    """Bytes of a parameter in each process: itself, its gradient and two moments, in fp32.

    Several processes put all gradients into one message; where the slow step is shared out each
    has the moments of its own part alone, and sends one matrix after the other.
    """
    if processes == 1:
        return 16.0
    return 8.0 + 8.0 / processes if sharded else 20.0


HEAD = 0.6e9
"""Bytes of a block of logits on a GPU (`models.decoders.head`)."""


@dataclass(frozen=True)
class Plan:
    """Training on a number of processes.

    Attributes:
        processes: how many.
        iteration: seconds of an iteration.
        seconds: of all of training.
        tokens_per_second: of all processes.
        efficiency: against one process of unlimited memory.
        memory: bytes of a process.
        fits: whether it has them.
        sent: bytes that a process sends for each token that it trains on.
        rows: of a process, the most that one has.
    """

    processes: int
    iteration: float
    seconds: float
    tokens_per_second: float
    efficiency: float
    memory: float
    fits: bool
    sent: float
    rows: int


def plan(config: Config, tokens: float, processes: int, batch: int, machine: Machine) -> Plan:
    """What training a configuration on so many tokens takes, an iteration's rows shared out.

    Args:
        config: what is trained; its rows are taken to be full.
        tokens: to train on, in all.
        processes: that share an iteration's rows.
        batch: rows of an iteration, of all processes.
        machine: what a process computes on.

    Raises:
        InputError: for fewer rows than processes.
    """
    if batch < processes:
        raise InputError(
            f"{batch} rows an iteration are too few for {processes} processes, which take one or "
            "more each: raise --batch"
        )
    cost = Cost(config)
    one, many = (_iteration(cost, n, batch, machine) for n in (1, processes))
    rows, length = -(-batch // processes), config.architecture.length
    memory = cost.memory(rows, machine.number, processes)
    rate = batch * length / many
    return Plan(
        processes, many, tokens / rate, rate, one / (processes * many), memory,
        memory <= machine.memory, cost.sent(processes) / (rows * length), rows,
    )  # fmt: skip


def _iteration(cost: Cost, processes: int, batch: int, machine: Machine) -> float:
    """Seconds: passes of the layers, then the reduction, which nothing overlaps."""
    config, rows = cost.config, -(-batch // processes)
    work = rows * config.architecture.length * cost.flops / (machine.share * machine.flops)
    launches = (2 * config.fast.steps + 3) * config.architecture.layers * machine.launch
    rate = machine.link if processes <= machine.node else machine.network
    return work + launches + cost.sent(processes) / rate


def ends(config: Config, tokens: float, batch: int, machine: Machine) -> int:
    """The most processes, in powers of two, that are worth it: half of each is not waiting."""
    found = 1
    while 2 * found <= batch:
        if plan(config, tokens, 2 * found, batch, machine).efficiency < WORTH:
            break
        found *= 2
    return found


def table(plans: Sequence[Plan]) -> str:
    """A row for each number of processes."""
    columns = ("processes", "rows each", "hours", "tokens/s", "efficiency", "memory each, GB",
               "bytes sent a token")  # fmt: skip
    rows = []
    for one in plans:
        memory = f"{one.memory / 1e9:.1f}" + ("" if one.fits else ", **too much**")
        hours = one.seconds / 3600
        rows.append((
            one.processes, one.rows, f"{hours:,.1f}" if hours >= 0.1 else f"{hours:.1g}",
            f"{one.tokens_per_second:,.0f}", f"{one.efficiency:.0%}", memory, f"{one.sent:,.0f}",
        ))  # fmt: skip
    return markdown(columns, rows)


def machine_named(name: str) -> Machine:
    """A GPU by its name.

    Raises:
        InputError: for one that is not known.
    """
    if name not in GPUS:
        raise unknown("gpu", name, GPUS)
    return GPUS[name]
