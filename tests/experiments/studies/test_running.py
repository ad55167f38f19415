"""A study is computed part by part, goes on where it was, and is drawn again without computing."""

import dataclasses
import json
from dataclasses import dataclass

import pytest

from ltm_pyro.commands import study as command
from ltm_pyro.commands.cli import main
from ltm_pyro.errors import InputError
from ltm_pyro.experiments import studies
from ltm_pyro.experiments.studies import Part, Picture, Results, Study, Trial, redraw, running

COMPUTED: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Squares(Study):
    """Square some numbers.

    More of this.
    """

    numbers: tuple[int, ...] = (2, 3)
    power: int = 2

    ADDS = frozenset({"numbers"})

    def parts(self):
        return [Part(f"of-{n}", lambda n=n: self.one(n), follows=str(n)) for n in self.numbers]

    def one(self, n):
        COMPUTED.append(f"{n}")
        if n == 13:
            raise KeyboardInterrupt
        return {"n": n, "value": n**self.power, "unknown": float("nan")}

    def trial(self):
        return Trial(lambda: COMPUTED.append("trial"), 0.5)

    def results(self, found):
        values = {name: one["value"] for name, one in found.items()}
        picture = Picture("Values", lambda figure: figure.subplots().plot([*values.values()]))
        return Results(values, [f"{len(values)} values"], {"values": picture})


@pytest.fixture(autouse=True)
def known(monkeypatch):
    COMPUTED.clear()
    monkeypatch.setattr(studies, "studies", lambda: {"squares": Squares})
    monkeypatch.setattr(command, "studies", lambda: {"squares": Squares})
    monkeypatch.setattr(command, "study_named", lambda name: Squares)


@dataclass(frozen=True, kw_only=True)
class OddFirst(Squares):
    """Square odd numbers, then even ones."""

    def parts(self):
        return [dataclasses.replace(one, turn=1 - int(one.follows) % 2) for one in super().parts()]


def test_a_part_waits_for_those_of_lower_turns(tmp_path):
    OddFirst(out=tmp_path / "a", numbers=(2, 4, 5, 6, 7)).run(lambda text: None)
    assert COMPUTED == ["trial", "5", "7", "2", "4", "6"]
    COMPUTED.clear()
    OddFirst(out=tmp_path / "a", numbers=(8, 7, 9)).run(lambda text: None)
    assert COMPUTED == ["trial", "9", "8"]


def test_what_is_finished_is_not_computed_again(tmp_path, capsys):
    out = tmp_path / "study"
    start = ["study", "squares", "--out", str(out), "--numbers"]
    assert main([*start, "2", "13", "3"]) == 130
    assert COMPUTED == ["trial", "2", "13"]
    assert json.loads((out / "results.json").read_text()) == {"of-2": 4}
    COMPUTED.clear()
    assert main([*start, "2", "3", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out.split("values\n")[-1]) == {"of-2": 4, "of-3": 9}
    assert "2 parts, 1 of them finished" in told.err
    assert "about 0 s to go" in told.err
    assert COMPUTED == ["trial", "3"]
    assert json.loads((out / "parts/of-3.json").read_text())["found"]["unknown"] is None
    COMPUTED.clear()
    # Numbers only add parts: those that are there stay, and are told of too.
    assert main([*start, "4"]) == 0
    assert COMPUTED == ["trial", "4"]
    assert json.loads((out / "results.json").read_text()) == {"of-2": 4, "of-3": 9, "of-4": 16}
    report = (out / "report.md").read_text()
    assert report.startswith("# Square some numbers.\n\n3 values\n\n![Values](values.png)")
    assert f"ltm study squares --out {out} --numbers 4\n" in report
    assert {"values.png", "values.svg"} <= {path.name for path in out.iterdir()}


def test_other_options_need_another_folder(tmp_path):
    Squares(out=tmp_path / "a").run(lambda text: None)
    COMPUTED.clear()
    with pytest.raises(InputError, match=r"holds a study with power 2, and 3 is asked for"):
        Squares(out=tmp_path / "a", power=3).run(lambda text: None)
    part = tmp_path / "a/parts/of-2.json"
    part.write_text(part.read_text().replace('"follows": "2"', '"follows": "5"'))
    with pytest.raises(InputError, match=r"of-2.json was computed from something else"):
        Squares(out=tmp_path / "a").run(lambda text: None)
    part.write_text("{")
    with pytest.raises(InputError, match=r"of-2.json is no part of a study .*: remove it"):
        Squares(out=tmp_path / "a").run(lambda text: None)
    assert not COMPUTED


def test_pictures_are_drawn_again_from_what_is_there(tmp_path, capsys):
    Squares(out=tmp_path / "a", power=3).run(lambda text: None)
    first = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir() if path.is_file()}
    for name in ("values.png", "values.svg", "report.md", "results.json"):
        (tmp_path / "a" / name).unlink()
    COMPUTED.clear()
    assert main(["study", "redraw", str(tmp_path / "a")]) == 0
    assert not COMPUTED
    assert capsys.readouterr().out == "2 values\n"
    again = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir() if path.is_file()}
    assert again == first
    with pytest.raises(InputError, match=r"holds no study: expected study.json"):
        redraw(tmp_path)
    running.files.write_json(
        tmp_path / "study.json", {"made": {"study": "os.system"}, "options": {}}
    )
    with pytest.raises(InputError, match=r"names a study 'os.system', which this version has not"):
        redraw(tmp_path)


def test_the_command_says_what_there_is(capsys):
    with pytest.raises(SystemExit):
        main(["study", "--help"])
    assert "ltm study squares    Square some numbers.\n" in capsys.readouterr().out
    assert main(["study", "cubes", "--out", "x"]) == 2
    assert "ltm: error: unknown study 'cubes'" in capsys.readouterr().err
