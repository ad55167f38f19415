"""What is asked for often is there at once: heavy modules are imported where they are used."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "pyro", "datasets", "pandas", "matplotlib", "tyro")


@pytest.mark.parametrize(
    "code",
    ["import ltm_pyro", "from ltm_pyro.commands.cli import main; main(['--help'])"],
    ids=["import", "help"],
)
def test_it_waits_for_nothing_heavy(code):
    told = f"import sys\n{code}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_every_public_name_is_where_it_is_said_to_be():
    import ltm_pyro

    for name in ltm_pyro.__all__:
        assert getattr(ltm_pyro, name) is not None
    assert set(ltm_pyro._PLACES) | {"__version__"} == set(ltm_pyro.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ltm_pyro.nothing  # noqa: B018
