"""What ends a training, and what its user can do about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ltm_pyro import files
from ltm_pyro.errors import InputError, Lost, NotFinite, first_line
from ltm_pyro.models.size import out_of_memory

if TYPE_CHECKING:
    from ltm_pyro.runs.trainer import Trainer

LOWER_RATES = (
    "from there it would go the same way: train another run with a lower --slow.lr, --slow.clip or "
    "--fast.lr"
)
LOWER_MEMORY = (
    "another run needs less with a smaller --batch or --length, or the same batch with "
    "--slow.accumulate 2, --slow.recompute and --fast.recompute"
)


@contextmanager
def told(trainer: "Trainer") -> Iterator[None]:
    """A block of training whose errors say where the last good checkpoint is."""
    try:
        yield
    except NotFinite as error:
        raise NotFinite(f"{error}; {trainer.last_good()}; {LOWER_RATES}") from None
    except Lost as error:
        raise Lost(f"{error}; {trainer.last_good()}") from None
    except files.CannotWrite as error:
        raise InputError(f"{error}; {trainer.last_good()}") from None
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            error.add_note(trainer.where())
            raise
        raise InputError(
            f"out of memory in iteration {trainer.svi.done + 1} ({first_line(error)}); "
            f"{trainer.last_good()}; {LOWER_MEMORY}"
        ) from None
    except Exception as error:
        error.add_note(trainer.where())
        raise
