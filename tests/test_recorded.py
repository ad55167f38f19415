"""A short run of every protocol ends with the numbers that were recorded.

Recorded at 0.3.0, and once more when the order of batches became that of `data.order`; with the
order of before, they still were those of 0.3.0. Two figures are of later: `same_noise`, which is
the released code's own fit since then, and `predictive`, whose draws are those of a prefix alone.
`held_out_earned` was added to the log later; all that stood there before is as it was.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from .recorded import PROTOCOLS, machine, recorded

SAVED = json.loads(Path(__file__).with_name("recorded.json").read_text())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_number_has_moved(protocol, tmp_path):
    found, before = recorded(protocol, tmp_path), SAVED["runs"][protocol]
    if machine() == SAVED["machine"]:  # bit for bit
        assert found == before
        return
    np.testing.assert_allclose(found["norms"], before["norms"], rtol=1e-4)
    assert list(found["figures"]) == list(before["figures"])
    for name, nats in before["figures"].items():
        np.testing.assert_allclose(found["figures"][name], nats, rtol=1e-3, err_msg=name)
    for line, old in zip(found["log"], before["log"], strict=True):
        assert line == pytest.approx(old, rel=1e-3, abs=1e-4)


def test_the_protocols_differ():
    digests = {run["digest"] for run in SAVED["runs"].values()}
    assert len(digests) == len(PROTOCOLS)
