"""Every field of every configuration, and every option of every part, is checked."""

import contextlib
import dataclasses
import functools
import inspect
import io
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
from annotated_types import Ge, Le
from hypothesis import given, settings
from hypothesis import strategies as st

import ltm_pyro as ltm
from ltm_pyro import config, guides
from ltm_pyro.commands import cli, command, commands
from ltm_pyro.config import Architecture, Config, Data, Fast, Named, Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Guide
from ltm_pyro.inference.released import Released
from ltm_pyro.models import decoders, priors
from ltm_pyro.models.decoders import Decoder
from ltm_pyro.models.priors import Prior
from ltm_pyro.names import GIVEN, find, names
from ltm_pyro.options import Count, Fraction, checked, expected, hints, taken
from ltm_pyro.runs.config_json import from_dict, to_dict

NO_NUMBERS = ["no", "", "1", b"1", None, [], {}, (1,), object(), int, np.zeros(1)]
WRONG: dict[Any, list[Any]] = {
    bool: ["no", "false", 0, 1, 0.0, None, [], {}, "True"],
    int: [*NO_NUMBERS, True, False, 2.5, 2.0, float("nan"), 10**30, -(10**30), 2**63],
    float: [*NO_NUMBERS, True, False, float("nan"), float("inf"), float("-inf"), 10**400, 1j],
    str: [3, 2.5, True, None, [], {}, b"bytes", ["text"]],
    type(None): [],
}
"""Values that a plain kind does not take."""


def wrong(kind):
    """Values that a field of this kind must refuse."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        outside = {"ge": -1, "gt": 0, "le": 1, "lt": 0, "multiple_of": 1}
        limits = [vars(m) if hasattr(m, "__dict__") else dataclasses.asdict(m) for m in inner[1:]]
        return wrong(inner[0]) + [
            type(limit)(limit + outside[name]) for one in limits for name, limit in one.items()
        ]
    if origin in (Union, types.UnionType):
        refused = [wrong(of) for of in inner if of is not type(None)]
        return [
            value
            for value in refused[0]
            if all(any(same(value, x) for x in one) for one in refused) and value is not None
        ]
    if origin is Literal:
        return [3, True, None, [], "no such word", inner[0] + " "]
    if origin is tuple:
        return [3, True, None, "text", b"text", {"a": 1}, *([one] for one in wrong(inner[0]))]
    if origin is not None and issubclass(origin, Mapping):
        if inner[1] is Any:
            return [3, True, None, "text", [1], [["a", 1]], {3: 3}]
        return [3, True, None, {3: ()}, *({"a": one} for one in wrong(inner[1]))]
    if dataclasses.is_dataclass(kind):
        return [3, True, "text", [], {"no": 1}, kind, object()]
    return [] if kind is Any else WRONG[kind]


def same(a, b):
    return a is b or (type(a) is type(b) and not isinstance(a, np.ndarray) and a == b)


PARTS = [
    cls
    for cls in vars(config).values()
    if dataclasses.is_dataclass(cls) and cls.__module__.startswith(config.__name__)
] + [Released]
FIELDS = [(cls, field.name) for cls in PARTS for field in dataclasses.fields(cls)]
TAKES_MORE = {
    ("Data", "fields"): (str,),
    ("Data", "numbers"): (str,),
    ("Data", "columns"): (str, list, tuple),
}
"""What a field takes beside its kind: names given as one, or without values."""
TINY = ltm.preset("tiny")
EXAMPLES = {
    "Architecture": TINY.architecture, "Thoughts": TINY.thoughts, "Named": Named("mixture"),
    "Data": TINY.data, "Fast": TINY.fast, "Slow": TINY.slow, "Warm": ltm.Warm(1),
    "Objective": TINY.objective, "Training": TINY.training, "Config": TINY, "Released": Released(),
}  # fmt: skip


def refused_by(cls, name):
    """Wrong values of a field."""
    kind = hints(cls)[name]
    found = wrong(kind)
    if name == "optimizer":
        found = [3, None, True, 2.5, [], {}]
    more = TAKES_MORE.get((cls.__name__, name), ())
    return [v for v in found if not (isinstance(v, more) and (isinstance(v, str) or words(v)))]


def words(value):
    return isinstance(value, list | tuple) and all(isinstance(x, str) for x in value)


def test_the_walk_sees_every_field():
    assert {cls.__name__ for cls in PARTS} == set(EXAMPLES)
    assert len(FIELDS) > 60
    assert all(refused_by(cls, name) for cls, name in FIELDS)


@pytest.mark.parametrize(("cls", "name"), FIELDS, ids=lambda x: getattr(x, "__name__", x))
def test_a_wrong_value_is_refused_from_python(cls, name):
    for value in refused_by(cls, name):
        with pytest.raises(InputError, match=rf"\b{name}\b"):
            dataclasses.replace(EXAMPLES[cls.__name__], **{name: value})


def places(value, path=()):
    """Where in a configuration's JSON each dataclass stands."""
    for field in dataclasses.fields(value):
        yield type(value), (*path, field.name)
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            yield from places(inner, (*path, field.name))


WHOLE = TINY.replace(warm=ltm.Warm(1), callbacks=(Named("wandb"),))


@pytest.mark.parametrize(("cls", "path"), list(places(WHOLE)), ids=lambda x: str(x)[:40])
def test_a_wrong_value_is_refused_from_json(cls, path):
    for value in refused_by(cls, path[-1]):
        try:
            value = json.loads(json.dumps(value))
        except TypeError:
            continue  # JSON holds nothing of the kind
        if value in ({"3": 3}, {"3": []}):
            continue  # its names are texts
        content = json.loads(json.dumps(to_dict(WHOLE)))
        place = functools.reduce(lambda at, name: at[name], path[:-1], content)
        place[path[-1]] = value
        with pytest.raises(InputError, match=rf"run\.json.*\b{path[-1]}\b"):
            from_dict(Config, json.loads(json.dumps(content)), "run.json")


NUMBERS = ["nan", "inf", "-inf", "1e999", "-1", "1" * 30, "2.5", "no", "True", "", "٣x"]


def options():
    """Each number, switch or word of a command, and its kind."""
    for name in commands():
        for field in dataclasses.fields(command(name)):
            kind = hints(command(name))[field.name]
            parts = get_args(kind)[:1] if get_origin(kind) is Annotated else ()
            inner = next((k for k in (kind, *parts) if dataclasses.is_dataclass(k)), None)
            if inner is None:
                yield name, field.name.replace("_", "-"), kind
                continue
            flat = inner.__name__ in ("Training", "Text")
            for one in dataclasses.fields(inner):
                prefix = "" if flat else f"{field.name}."
                yield name, prefix + one.name.replace("_", "-"), hints(inner)[one.name]


def plain(kind):
    """The kind without what tyro or None adds to it."""
    while get_origin(kind) in (Annotated, Union, types.UnionType):
        inner = [k for k in get_args(kind) if k is not type(None)]
        if get_origin(kind) is Annotated and any(
            type(m).__module__.startswith("annotated_types") for m in get_args(kind)[1:]
        ):
            return kind
        kind = inner[0]
    return kind


NUMBERED = [
    (name, option, plain(kind))
    for name, option, kind in options()
    if plain(kind) in (int, float) or get_origin(plain(kind)) is Annotated
]


@pytest.mark.parametrize(("name", "option", "kind"), NUMBERED[::8], ids=str)
def test_a_wrong_number_is_refused_on_the_command_line(name, option, kind):
    give_wrong_numbers(name, option, kind, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "option", "kind"), NUMBERED, ids=str)
def test_every_wrong_number_is_refused_on_the_command_line(name, option, kind):
    give_wrong_numbers(name, option, kind, None)


def give_wrong_numbers(name, option, kind, most):
    option = {"fast-steps": "fast.steps", "warm-steps": "warm.steps", "warm-lr": "warm.lr"}.get(
        option, option
    )
    values = [text for text in NUMBERS if not takes(kind, text)]
    assert len(values) > 5
    needed = ["none"] if name in ("evaluate", "generate", "rank") else []
    where = ["--out", "none"] if name == "train" else needed
    for text in values[:most]:
        error = io.StringIO()
        with contextlib.redirect_stderr(error):
            assert cli.main([name, *where, f"--{option}={text}"]) == 2
        assert option.split(".")[-1].replace("-", "_") in error.getvalue().replace("-", "_")


def takes(kind, text):
    """Whether a number written so is one of the kind."""
    number = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    try:
        taken("it", number(text), kind)
    except ValueError:
        return False
    return True


def parts():
    """Each option of each prior, guide and decoder, by name."""
    for kind, module, base in (
        ("prior", priors, Prior), ("guide", guides, Guide), ("decoder", decoders, Decoder),
    ):  # fmt: skip
        for name, cls in names(module, base).items():
            known = inspect.signature(cls.__init__).parameters
            for option in known.keys() - {"self", *GIVEN}:
                yield kind, module, base, name, option


@pytest.mark.parametrize(
    ("kind", "module", "base", "name", "option"), list(parts()), ids=lambda x: str(x)[:20]
)
def test_a_wrong_option_is_refused_before_anything_is_made(kind, module, base, name, option):
    cls = names(module, base)[name]
    assert option in hints(cls.__init__), "an option without annotation is not checked"
    values = wrong(hints(cls.__init__)[option])
    assert len(values) > 2
    for value in values:
        with pytest.raises(InputError, match=rf"\b{kind}\.{option}\b"):
            find(kind, Named(name, {option: value}), module, base)
        if kind == "prior" and name != "conditional":
            with pytest.raises(InputError, match=rf"\b{option}\b"):
                cls(TINY.thoughts, **{option: value})
        if kind == "guide" and name not in ("amortized", "semi-amortized"):
            with pytest.raises(InputError, match=rf"\b{option}\b"):
                cls(TINY.thoughts, 2, **{option: value})


@pytest.mark.parametrize(
    ("value", "kind", "kept"),
    [
        (1, float, 1), (10**30, float, 1e30), (np.int64(3), Count, 3),
        (np.float32(0.5), Fraction, 0.5),
        (np.bool_(True), bool, True), (["a"], tuple[str, ...], ("a",)), (None, Count | None, None),
        (2**63 - 1, int, 2**63 - 1), (-(2**63), int, -(2**63)), (3, Any, 3),
        ({"a": ["b"]}, Mapping[str, tuple[str, ...]], {"a": ("b",)}),
    ],
)  # fmt: skip
def test_what_is_taken_and_as_what(value, kind, kept):
    found = taken("it", value, kind)
    assert found == kept
    assert type(found) is type(kept)


def test_a_message_has_field_value_and_expectation_in_one_line():
    for value in (10**5000, "x\n" * 500, [[]] * 500, object()):
        with pytest.raises(InputError) as told:
            Fast(steps=value)
        text = str(told.value)
        assert text.startswith("fast.steps is ")
        assert ": expected a whole number" in text
        assert "\n" not in text
        assert len(text) < 200


def test_a_list_within_itself_is_shown():
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InputError, match=r"fast.steps is \[\[...\]\]"):
        Fast(steps=endless)


@given(st.integers() | st.floats() | st.booleans() | st.text() | st.none() | st.binary())
@settings(max_examples=300, deadline=None)
def test_a_number_is_taken_if_and_only_if_it_is_in_range(value):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    inside = number and 0 < value <= 1
    try:
        assert taken("it", value, Fraction) == value
    except InputError:
        assert not inside
    else:
        assert inside


def test_annotations_that_say_nothing_refuse_nothing():
    @checked
    def f(a, b: "NoSuchName", c: Any = 1, *rest: int, **more: str) -> Any:  # noqa: F821
        return a, b, c, rest, more

    assert f(1, 2, "x", "y", z=3) == (1, 2, "x", ("y",), {"z": 3})


def test_a_protocol_or_an_abstract_kind_is_no_trouble():
    class Has(typing.Protocol):
        x: int

    assert taken("it", 3, Has) == 3
    assert taken("it", ["ab"], Sequence[str]) == ["ab"]
    with pytest.raises(InputError, match="it is 3: expected a list, each text"):
        taken("it", 3, Sequence[str])
    with pytest.raises(InputError, match=r"it\[1\] is 3: expected text"):
        taken("it", ["a", 3], Sequence[str])


def test_an_annotation_that_cannot_be_resolved_leaves_the_others():
    assert {"draws", "seed", "posterior"} <= hints(ltm.to_datatree).keys()
    for name in ltm.__all__:
        function = getattr(ltm, name)
        if inspect.isfunction(function) and hasattr(function, "__wrapped__"):
            named = inspect.signature(function).parameters.values()
            # What comes as **options is checked where it is taken.
            own = {one.name for one in named if one.kind is not one.VAR_KEYWORD}
            assert hints(function).keys() == own


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Count, "a whole number, 1 or more"),
        (Annotated[float, Ge(0), Le(1)], "a finite number, 0 or more and at most 1"),
        (Count | None, "a whole number, 1 or more, or None"),
        (Literal["a", "b"], "one of 'a', 'b'"),
        (tuple[str, ...], "a list, each text"),
        (Thoughts, "Thoughts"),
    ],
)
def test_kinds_in_words(kind, words):
    assert expected(kind) == words


def test_names_may_be_given_as_one_or_without_values():
    assert Data(fields="text").fields == ("text",)
    assert Data(columns="author").columns == {"author": ()}
    assert Data(columns=["a", "b"]).columns == {"a": (), "b": ()}
    assert Data(columns={"a": ["x"]}).columns == {"a": ("x",)}


def test_parts_that_do_not_go_together_are_told_with_their_file():
    content = to_dict(TINY) | {"thoughts": {"layers": 3, "slots": 1, "dim": 1}}
    with pytest.raises(InputError, match=r"run.json: thoughts for 3 layers, but the decoder has 2"):
        from_dict(Config, content, "run.json")
    with pytest.raises(InputError, match=r"run.json.*missing.*'vocabulary'"):
        from_dict(Config, {"architecture": {}, "thoughts": content["thoughts"]}, "run.json")
    assert isinstance(from_dict(Config, to_dict(TINY), "run.json").architecture, Architecture)


def test_a_path_with_a_null_character_is_named():
    for call in (lambda: ltm.load("a\0b"), lambda: ltm.load(Path("a\0b"))):
        with pytest.raises(InputError, match=r"path is .*: a path cannot hold a null character"):
            call()
