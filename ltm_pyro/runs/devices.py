"""Where a run is computed."""

import torch

from ltm_pyro.errors import InputError, first_line


def device_named(name: str) -> torch.device:
    """A device that is here, e.g. of the name "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: for a name that is none, or a device that this machine lacks.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device).cpu()  # "meta" has no numbers
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise InputError(
            f"device {name!r} cannot be used ({first_line(error)}): here there is "
            f"{', '.join(found)}"
        ) from None
    return device
