"""`ltm evaluate --certify`, as a user meets it."""

import json

import pytest

from .test_cli import SMALL, ltm


@pytest.fixture
def run(text_file, tmp_path):
    out = tmp_path / "run"
    assert ltm("train", "--data", text_file, "--out", out, *SMALL) == 0
    return out


def test_text_is_enclosed(run, capsys):
    capsys.readouterr()
    certify = ("evaluate", run, "--certify", "--certify.chains", "64", "--certify.simulated", "6")
    assert ltm(*certify, "--temperatures", "2", "--bounds", "iwae:32", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    certificate, iwae = found["certificate"], found["iwae"]
    assert certificate["documents"] == iwae["documents"] == len(certificate["per_document"])
    assert certificate["certified"] == sum(d["certified"] for d in certificate["per_document"])
    for document in certificate["per_document"]:
        assert document["at_least"] <= document["at_most"]
        assert document["certified"] == (document["reason"] == "")
    assert certificate["missed"]["simulated"] == 6
    at_most = certificate["all_documents_at_most"]["nats_per_token"]
    assert at_most == pytest.approx(iwae["nats_per_token"], abs=0.05)
    assert ltm(*certify, "--temperatures", "1", "--bounds", "prior") == 0
    assert "log p(x) enclosed for" in capsys.readouterr().out


def test_wrong_numbers_are_named(run, capsys):
    assert ltm("evaluate", run, "--certify", "--temperatures", "0") == 2
    assert "temperatures is 0: expected a whole number, 1 or more" in capsys.readouterr().err
    assert ltm("evaluate", run, "--bounds", "prior", "--certify", "--certify.chains", "3") == 2
    assert "chains is 3: expected a whole number, 30 or more" in capsys.readouterr().err
