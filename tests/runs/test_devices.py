"""Where a run is computed."""

import pytest
import torch

from ltm_pyro.errors import InputError
from ltm_pyro.runs.devices import device_named


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "cuda:-1"])
def test_a_device_that_is_not_here_is_named(name):
    with pytest.raises(InputError, match=rf"device '{name}' cannot be used .*: here there is cpu"):
        device_named(name)
    assert device_named("cpu") == torch.device("cpu")
