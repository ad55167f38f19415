"""What a report says is what was measured; it loads nothing, and runs nothing of a stranger's."""

import dataclasses
import re
import shutil

import numpy as np
import pytest

import ltm_pyro as ltm
from ltm_pyro.commands import cli
from ltm_pyro.data.store import ROW, StoredRows
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Point
from ltm_pyro.reports.making import NAME
from ltm_pyro.reports.measuring import choose
from ltm_pyro.reports.words import within
from ltm_pyro.runs.verify import verify

from ..runs.helpers import train
from ..runs.test_programs import of, rated_file  # noqa: F401
from .conftest import SCRIPT
from .reading import Page

QUICK = {"rows": 30, "inspected": 8, "texts": 1, "progress": False}
PARTS = [
    "In short", "What it is", "Training", "Figures", "Diagnostics", "Texts it writes",
    "A map of thoughts", "Again",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(two_runs, tmp_path_factory):
    """A report of the first run, and one of both."""
    place, prompt = tmp_path_factory.mktemp("pages"), f"{SCRIPT[:9]}\x1b"
    one = ltm.report(two_runs[0], out=place / "one.html", prompts=[prompt], **QUICK)
    return one, ltm.report(*two_runs, out=place / "two.html", **QUICK)


def test_its_figures_are_those_of_evaluate(two_runs, tmp_path):
    run = ltm.load(two_runs[0])
    rows = ltm.load_data(run.config, run.tokenizer).test
    bounds = ("elbo:2", "same_noise", "prior:3")
    page = Page(
        ltm.report(run, out=tmp_path / "page.html", bounds=bounds, inspected=0, texts=0, seed=3,
                   progress=False)
    )  # fmt: skip
    report = ltm.evaluate(
        run.model, rows, bounds, guide=run.guide, fast=run.config.fast, baseline=run.baseline,
        seed=3, progress=False,
    )  # fmt: skip
    for figure in report.figures.values():
        assert within(figure.nats_per_token, figure.standard_error) in page.pieces
        assert f"{figure.perplexity:.2f}" in page.pieces
        assert figure.protocol in page.text
    for other in ("prior", "baseline"):
        gain, error = report.difference(other, "elbo")
        assert within(gain, error, "+") in page.pieces
    assert page.pieces.count("NOT A BOUND") == 1
    assert "No rows were looked at more closely (--inspected 0)." in page.text


def test_it_has_all_its_parts_and_their_pictures(made):
    page = Page(made[0])
    assert [p for p in page.pieces if p in PARTS] == [*PARTS, *PARTS]  # the contents, and the parts
    assert [tags["lang"] for tags in page.of("html")] == ["en"]
    pictures = [tags for tags in page.of("svg")]
    assert len(pictures) == 8
    for one in pictures:
        assert one["role"] == "img"
        assert len(one["aria-label"].split()) > 5
    for told in (
        "The fast loop, 1 steps", "Thought use", "Guide quality", "k-hat", "± MC",
        "first principal component", "ltm evaluate ", "Kong, D.", '"vocabulary"',
    ):  # fmt: skip
        assert told in page.text


@pytest.mark.parametrize("which", [0, 1])
def test_pictures_are_in_the_page_s_colours_by_day_and_by_night(made, which):
    pictures = re.findall("<svg.*?</svg>", Page(made[which]).source, re.DOTALL)
    assert pictures
    for svg in pictures:
        assert not re.findall(r"(?:fill|stroke): #\w+", svg)
        assert "currentColor" in svg


@pytest.mark.parametrize("which", [0, 1])
def test_it_loads_and_runs_nothing(made, which):
    page = Page(made[which])
    assert not {tag for tag, _ in page.tags} & {
        "script", "link", "iframe", "object", "embed", "form", "base", "img", "video", "audio"
    }  # fmt: skip
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "xlink:href", "src", "srcset", "data", "action", "poster"):
                assert value.startswith(("#", "data:image/png;base64,"))
    places = re.findall(r"url\(([^)]*)\)", page.source)
    assert all(place.startswith("#") for place in places)
    assert "@import" not in page.source
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))
    used = {place[1:] for place in places} | {a["href"][1:] for a in page.of("a")}
    used |= {a["xlink:href"][1:] for a in page.of("use")}
    assert used <= set(names)
    policy = [tags for tags in page.of("meta") if "http-equiv" in tags]
    assert "default-src 'none'" in policy[0]["content"]


def test_what_a_stranger_wrote_is_text(made):
    page = Page(made[0])
    assert page.text.count(SCRIPT) > 2  # a value of the column, and texts at the map's ends
    assert "$\\frac{austen" in page.text
    assert "\\x1b[31m_red & 'blue'" in page.text
    assert not re.search("[\x00-\x08\x0e-\x1f\x7f-\x9f]", page.source)
    assert "runs & <b>more" in page.text


def test_the_same_seed_makes_the_same_page(two_runs, tmp_path):
    quick = {**QUICK, "inspected": 4}
    pages = [
        ltm.report(two_runs[0], out=tmp_path / f"{i}.html", seed=seed, **quick).read_text()
        for i, seed in enumerate((0, 0, 1))
    ]
    first, same, other = (
        page.partition("<footer>")[0].replace("seed=1", "seed=0") for page in pages
    )
    assert first == same
    assert first != other


def test_a_report_beside_a_run_disturbs_nothing(two_runs, capsys):
    path = two_runs[1]
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    capsys.readouterr()
    small = ("--rows", "12", "--inspected", "0", "--texts", "1")
    for told in ("scoring", "is replaced"):
        assert cli.main(["report", str(path), *small]) == 0
        said = capsys.readouterr()
        assert said.out.strip() == str(path / NAME)
        assert told in said.err
        assert re.search(r"report: .*, [\d,]+ bytes, in \d+ s", said.err)
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.name != NAME} == before
    assert set(verify(path).values()) == {"whole"}
    (path / NAME).unlink()


def test_two_are_told_apart_by_paired_differences(two_runs, made):
    page = Page(made[1])
    runs = [ltm.load(path) for path in two_runs]
    rows = ltm.load_data(runs[0].config, runs[0].tokenizer).test
    one, other = (
        ltm.evaluate(run.model, rows, guide=run.guide, fast=run.config.fast, baseline=run.baseline,
                     progress=False)
        for run in runs
    )  # fmt: skip
    assert len(rows) <= QUICK["rows"]
    for name in ("elbo", "prior", "baseline"):
        gap, error = ltm.bounds.paired_difference(one[name], other[name])
        assert within(gap, error, "+") in page.pieces
    changed = page.pieces[page.pieces.index("Settings that are not the same") :]
    changed = changed[: changed.index("Training")]
    names = {piece for piece in changed if re.fullmatch(r"\w+(\.\w+)+", piece)}
    assert names == {"training.seed", "prior.name"}
    assert changed[changed.index("prior.name") + 1 :][:2] == [
        '"standard-normal"',
        '"learned-normal"',
    ]


def test_a_run_beside_itself_is_the_same(two_runs, tmp_path):
    quick = {**QUICK, "inspected": 0}
    page = Page(ltm.report(two_runs[0], two_runs[0], out=tmp_path / "same.html", **quick))
    assert "All settings are the same" in page.pieces
    assert page.pieces.count("these documents do not tell them apart") == 3
    assert "+0.0000 ± 0.0000" in page.pieces


def test_what_a_guide_does_not_allow_is_told(two_runs, tmp_path):
    run = ltm.load(two_runs[0])

    point = dataclasses.replace(run, guide=Point)
    with pytest.raises(InputError, match="Point is a point, without density"):
        ltm.report(point, out=tmp_path / "page.html", **QUICK)
    page = Page(ltm.report(point, out=tmp_path / "page.html", bounds="prior", **QUICK))
    assert page.text.count("Point is a point, without density") >= 2
    assert "No thought use" in page.text


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"out": "page.txt"}, r"--out page.txt: .* a name that ends in .html"),
        ({"out": "notes.html"}, r"notes.html is no report of ltm report.* give another --out"),
        ({"out": "folder.html"}, r"folder.html is a folder"),
        ({"rows": 0}, "rows is 0: expected a whole number, 1 or more"),
        ({"bounds": "elbow"}, "unknown bound 'elbow'"),
        ({"prompts": ["sea " * 40]}, "leaves no room in a row of 12"),
        ({"row": 3}, "unknown option 'row': did you mean 'rows'"),
    ],
)
def test_bad_questions_are_refused_and_nothing_is_written(
    two_runs, tmp_path, monkeypatch, asked, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.html").write_text("<title>mine</title>")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match=message):
        ltm.report(two_runs[0], **{"out": "page.html", **QUICK, **asked})
    assert (tmp_path / "notes.html").read_text() == "<title>mine</title>"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder.html", "notes.html"]


def test_a_text_that_is_not_there_is_named(two_runs, tmp_path, capsys):
    run = shutil.copytree(two_runs[0], tmp_path / "run")
    config = (run / "config.json").read_text()
    text = str(two_runs[0].parent / "documents.jsonl")
    (run / "config.json").write_text(config.replace(text, "gone.jsonl"))
    assert cli.main(["info", str(run), "--seal"]) == 0
    capsys.readouterr()
    for command in (["report", str(run)], ["report", *map(str, [run] * 3)], ["report"]):
        assert cli.main(command) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert len(told) == 1
        assert any(word in told[0] for word in ("gone.jsonl", "3 folders", "0 folders", "required"))
    assert cli.main(["report", str(run), "--data", text, "--inspected", "0", "--texts", "0"]) == 0


def test_whole_documents_are_chosen_by_lot():
    sizes = [3, 1, 2, 1, 1, 2]
    document = np.repeat(np.arange(len(sizes)), sizes)
    index = np.zeros(len(document), ROW)
    index["document"], index["length"] = document, 1
    rows = StoredRows(np.zeros(len(document), np.int64), index)
    assert choose(rows, 10, 0).tolist() == list(range(10))
    picked = [choose(rows, 4, seed) for seed in range(20)]
    for places in picked:
        found, counts = np.unique(document[places.numpy()], return_counts=True)
        assert counts.tolist() == [sizes[i] for i in found]
        assert len(places) <= 4
    assert len({tuple(places.tolist()) for places in picked}) > 5


@pytest.mark.parametrize(
    "cls", ["Rated", pytest.param("Labelled", marks=pytest.mark.slow), "Regressed"]
)
def test_a_program_of_ones_own_has_a_report(of, tmp_path, cls):  # noqa: F811
    """Of labels, ratings and shared sites: in their own units, and the program by its name."""
    run = train(of(cls), tmp_path / "run")
    page = Page(ltm.report(run, split="train", out=tmp_path / "page.html", **QUICK))
    assert f"program tests.runs.programs:{cls}" in page.text
    assert f"{run.model.parameter_count():,} parameters" in page.text
    assert "nan" not in page.text.replace("unan", "")
    assert "too few documents" not in page.text
    assert "--trust" in page.text
    assert "split='train'" in page.text
    if cls == "Regressed":
        assert "Regressed samples weight beside its thoughts" in page.text
        assert "Trace Shapes" not in page.text
    else:
        assert "nats/document of" in page.text
        assert "all observed sites together" in page.text
