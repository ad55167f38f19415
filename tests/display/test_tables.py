"""What objects show in a notebook: a table, in which everything is escaped."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest

import ltm_pyro as ltm
from ltm_pyro.bounds import Report
from ltm_pyro.display.tables import table
from ltm_pyro.inference import Fit

from ..conftest import some_rows
from ..programs.models_of_many_sites import many_sites

EVIL = "<script>alert('x')</script>"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def cells(html):
    """The text of each row's cells; the markup is checked on the way."""
    tags = Tags()
    tags.feed(html)
    assert not tags.open
    assert tags.seen <= {"div", "table", "caption", "b", "thead", "tbody", "tr", "th", "td"}
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_a_table_escapes_all_that_it_is_given():
    html = table(EVIL, [{EVIL: EVIL, "n": 1234, "x": 0.5}, {"x": float("nan"), "n": True}], [EVIL])
    assert "<script" not in html
    assert cells(html)[1:] == [
        ["&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;", "1,234", "0.5000"], ["", "yes", ""],
    ]  # fmt: skip


@pytest.fixture(scope="module")
def shown():
    """A report with a figure of every kind, and a posterior."""
    from ltm_pyro.config import Architecture, Config, Fast, Thoughts
    from ltm_pyro.models import LatentThoughtModel

    config = Config(Architecture(20, 0, 12, 4, 2, 16, 2, 24), Thoughts(2, 2, 3))
    model, rows = LatentThoughtModel(config), some_rows()
    report = ltm.evaluate(
        model,
        rows,
        ["elbo:2", "iwae:30", "same_noise"],
        fast=Fast(steps=2),
        repeat=0,
        progress=False,
    )
    return report, ltm.DualRateSVI(model, fast=Fast(steps=2)).infer(rows)


def test_a_report_is_a_table_with_a_row_for_each_figure_and_part(shown):
    report, _ = shown
    html = report._repr_html_()
    rows = cells(html)
    assert rows[0][:4] == ["figure", "nats/token", "± s.e.", "± MC"]
    of_noise = [f"— {part}" for part in report["same_noise"].parts]
    assert [row[0] for row in rows[1:]] == ["elbo", "— reconstruction", "— kl", "iwae",
                                            "same_noise", *of_noise]  # fmt: skip
    elbo = report["elbo"]
    assert rows[1][1:3] == [f"{elbo.nats_per_token:.4f}", f"{elbo.standard_error:.4f}"]
    bound = rows[0].index("is it a bound?")
    said = [row[bound] for row in rows if row[0] in report.figures]
    assert said == ["a bound", "a bound", "NOT A BOUND"]
    assert report["iwae"].weights in html
    assert "lower is better" in html
    assert repr(report) == str(report)


def test_a_report_of_nothing_says_so():
    assert "no figures" in Report({})._repr_html_()


def test_a_figure_shows_itself(shown):
    figure = dataclasses.replace(shown[0]["elbo"], protocol=EVIL)
    assert cells(figure._repr_html_())[1][0] == "elbo"
    assert "<script" not in figure._repr_html_()
    assert repr(figure) == str(figure)


def test_figures_of_several_sites_have_the_unit_of_the_whole_and_say_what_is_known(shown):
    elbo = shown[0]["elbo"]
    parts = {"tokens": elbo.parts["reconstruction"], "label": elbo.nats, "kl": elbo.parts["kl"]}
    more = dataclasses.replace(
        elbo, observed=("tokens", "label"), parts=parts, known={"label": 3}
    )  # fmt: skip
    head, first, *rest = cells(more._repr_html_())
    assert head[1] == "nats/document"
    assert first[1] == f"{elbo.nats_per_document:.4f}"
    known = {row[0]: row for row in rest}
    assert known["— label"][-1] == f"known of 3 of {elbo.documents}"
    assert known["— tokens"][-1] == ""
    alone = f"{elbo.nats_per_token:.4f} ± {elbo.standard_error:.4f} nats/token"
    assert known["— tokens alone"][-1].startswith(alone)
    both = cells(Report({"other": elbo, "more": more})._repr_html_())
    assert "nats/token" not in both[0]


def test_a_report_warns_in_a_notebook_too_of_a_guide_that_is_worse_than_none(shown):
    elbo = shown[0]["elbo"]
    prior = dataclasses.replace(elbo, name="prior", nats=elbo.nats - 1 - 0.01 * elbo.nats)
    assert "worse than none" in Report({"elbo": elbo, "prior": prior})._repr_html_()


def test_a_posterior_says_what_it_is_without_its_tensors(shown):
    posterior = shown[1]
    rows = dict(row for row in cells(posterior._repr_html_()) if len(row) == 2)
    assert rows["guide"] == "MeanField"
    assert rows["thoughts of a row"] == "layers 2, slots 2, dim 3"
    first = float(-posterior.inner.elbo[0].sum() / posterior.rows.token_count)
    assert rows["what the loop saw"].startswith(f"{first:.4f} before the first step")
    assert "tensor" not in repr(posterior)


def test_a_posterior_of_more_than_tokens_is_told_by_row():
    model, rows = many_sites(4)
    posterior = ltm.DualRateSVI(model, fast=ltm.Fast(steps=2)).infer(rows)
    first = float(-posterior.inner.elbo[0].mean())
    assert f"{first:.4f} before the first step" in repr(posterior)
    assert "nats/row of tokens, speed, label" in repr(posterior)
    assert "nats/token" not in repr(posterior)


def test_a_corpus_is_a_table_of_its_splits(corpus):
    named = dataclasses.replace(corpus, name=EVIL, notes=(EVIL,))
    html = named._repr_html_()
    assert "<script" not in html
    head, *rows = cells(html)
    assert [row[0] for row in rows] == ["train", "valid", "test"]
    assert rows[0][head.index("tokens")] == f"{corpus.train.token_count:,}"
    assert sum(int(row[head.index("documents")]) for row in rows) == 60
    assert repr(corpus) == str(corpus)


def test_a_run_says_what_it_is_also_when_its_folder_is_gone(run_config, corpus, tmp_path):
    run = ltm.train(run_config, tmp_path / "run", corpus, progress=False)
    rows = dict(row for row in cells(run._repr_html_()) if len(row) == 2)
    assert rows["iterations"] == "4 of 4"
    assert rows["held-out bound"].startswith("step 4: held-out bound")
    assert "tensor" not in repr(run)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert "held-out" not in run._repr_html_()


def test_a_fit_does_not_flood_a_cell():
    assert repr(Fit()) == "Fit: no iteration"
    fit = Fit([{"nats_per_token": 3.0 - i, "seconds": 2.0} for i in range(2)])
    assert repr(fit).startswith("Fit: 2 iterations in 4 s; bound on a training batch 3.000 at")
