"""Several processes for a test, which meet through gloo as those of torchrun do."""

import multiprocessing
import os
import pickle
import traceback

import torch
import torch.distributed

FORKS = multiprocessing.get_context("forkserver")
# What is imported once, in the server, lest each process takes seconds to begin: what runs and
# the tests themselves need, and what optimizers import late.
FORKS.set_forkserver_preload(
    ["ltm_pyro.commands.cli", "ltm_pyro.commands.train", "ltm_pyro.parsing",
     "ltm_pyro.runs.training", "ltm_pyro.runs.checkpoint", "torch._dynamo", "typeguard",
     "pytest", "hypothesis"]
)  # fmt: skip


def together(function, *arguments, size=2, seconds=120, store=None):
    """What a function returns in each of several processes, whose world is `world.here()`."""
    found = each(begin(function, *arguments, size=size, store=store), seconds)
    for end in found:
        if isinstance(end, str):
            raise AssertionError(end)
    return [value for (value,) in found]


def meeting_place():
    """A store that outlives processes, as torchrun's does."""
    return torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def begin(function, *arguments, size=2, store=None):
    """Start the processes; of each its object, and where its end comes from."""
    store = meeting_place() if store is None else store
    started = []
    for rank in range(size):
        here, there = FORKS.Pipe(duplex=False)
        settings = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "RANK": str(rank),
                    "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
                    "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
                    "LTM_PYRO_CACHE": os.environ["LTM_PYRO_CACHE"]}  # fmt: skip
        process = FORKS.Process(target=_run, args=(settings, there, function, arguments))
        process.start()
        process.store = store
        there.close()
        started.append((process, here))
    return started


def each(started, seconds=120):
    """How each process ended: a tuple of what it returned, a traceback, or its exit code."""
    found = []
    for _, here in started:
        try:
            late = "it took too long"
            found.append(pickle.loads(here.recv_bytes()) if here.poll(seconds) else late)
        except EOFError:
            found.append(None)
    for i, (process, _) in enumerate(started):
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
        if found[i] is None:
            found[i] = process.exitcode
    return found


def _run(settings, there, function, arguments):
    os.environ.update(settings)
    torch.set_num_threads(1)
    try:
        told = (function(*arguments),)
    except BaseException:
        told = traceback.format_exc()
    there.send_bytes(pickle.dumps(told))  # as bytes, for tensors sent as such need their sender
