"""Running a study: part by part, each kept as soon as it is there, then a report of all.

A folder of a study holds `study.json` (which study, with what options), `parts/NAME.json`,
`results.json`, `report.md` and each picture as PNG and SVG.
"""

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl

from ltm_pyro import __version__, files
from ltm_pyro.display.pictures import new_figure, png, svg
from ltm_pyro.errors import InputError, first_line
from ltm_pyro.experiments.studies.base import Found, Note, Part, Results, Study, plain
from ltm_pyro.inference.processes import by_itself, here
from ltm_pyro.inference.world import World
from ltm_pyro.options import shown
from ltm_pyro.runs.config_json import from_dict

STUDY, PARTS, RESULTS, REPORT = "study.json", "parts", "results.json", "report.md"


def run(study: Study, note: Note) -> Results:
    """Compute the parts of a study that are not finished, and write its report after each.

    Stopped at any time, the same call goes on with the first part that is not there; where all
    are, only the report is written. Of several processes each takes the next part that none has
    taken, and computes it by itself.

    Args:
        study: what is to be computed.
        note: called with a line of text for whatever happens.

    Raises:
        InputError: if the folder holds parts of another study, or of other options.
    """
    world, out = here(), study.out
    world.device(getattr(study, "device", "cpu"))
    with world.in_turn():
        parts = study.parts()
    made = {"study": type(study).__name__, **plain(_as_dict(study.options())), **study.follows()}
    files.check_same(out / STUDY, made, "a study", study.ADDS)
    known = {part.name: read(out, part) for part in parts}
    names = world.gather([name for name, one in known.items() if one is None])[0]
    left = sorted((one for one in parts if one.name in names), key=lambda one: one.turn)
    number = f"{len(parts)} part{'s' * (len(parts) != 1)}"
    note(f"{number}, {len(parts) - len(left)} of them finished; results are kept in {out}")
    if left and world.first:
        with by_itself():
            seconds = _seconds(study, left) / min(world.size, len(left))
        note(f"about {in_time(seconds)} to go, by a trial of the first")
    files.write_json(out / STUDY, {"made": made, "version": __version__, "options": {
        f.name: plain(_as_dict(getattr(study, f.name))) for f in fields(study)
    }})  # fmt: skip
    results, spent, done = None, 0.0, 0.0
    for i in _in_turns(world, left):
        part, start = left[i], time.perf_counter()
        with by_itself():
            what = plain(part.compute())
        seconds = time.perf_counter() - start
        content = {"follows": part.follows, "seconds": round(seconds, 2), "found": what}
        files.write_json(place(out, part.name), content)
        spent, done = spent + seconds, done + part.work
        rest = sum(one.work for one in left[i + 1 :]) * spent / done / world.size if done else 0.0
        to_go = f", about {in_time(rest)} to go" if left[i + 1 :] else ""
        note(f"{part.name}: {in_time(seconds)} ({i + 1} of {len(left)}{to_go})")
        if world.first:
            results = write(study, _there(study, parts))
    world.wait(long=True)
    if not world.first:
        return study.results(_there(study, parts))
    return results if results and world.size == 1 else write(study, _there(study, parts))


def _in_turns(world: World, left: Sequence[Part]) -> Iterator[int]:
    """Those parts that this process takes, none before all of a lower turn are finished."""
    first = 0
    for _, some in groupby(left, lambda one: one.turn):
        if first:
            world.wait(long=True)
        count = len(list(some))
        yield from (first + i for i in world.take(count))
        first += count


def _there(study: Study, parts: Sequence[Part]) -> dict[str, Found]:
    """What is found so far, by whichever process."""
    if study.ADDS:
        return finished(study.out)
    found = {part.name: read(study.out, part) for part in parts}
    return {name: one for name, one in found.items() if one is not None}


def redraw(folder: str | Path) -> Results:
    """Write the report of a study anew from its finished parts: nothing is computed.

    Raises:
        InputError: for a folder that holds no study.
    """
    from ltm_pyro.experiments.studies import studies

    place = Path(folder) / STUDY
    try:
        content = json.loads(place.read_bytes())
        name, options = content["made"]["study"], dict(content["options"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} holds no study: expected {STUDY} ({first_line(error)})"
        ) from None
    known = {cls.__name__: cls for cls in studies().values()}
    if name not in known:
        raise InputError(f"{place} names a study {shown(name)}, which this version has not")
    options["out"] = Path(folder)
    study = from_dict(known[name], options, str(place))
    found = finished(study.out)
    if not found:
        raise InputError(f"{folder} has no finished part: run the study first")
    return write(study, found)


def place(out: Path, name: str) -> Path:
    """Where a part is kept."""
    return out / PARTS / f"{name}.json"


def finished(out: Path) -> dict[str, Found]:
    """What all parts that are in a folder found, the oldest first."""
    paths = sorted((out / PARTS).glob("*.json"), key=lambda one: (one.stat().st_mtime, one.name))
    return {path.stem: json.loads(path.read_bytes())["found"] for path in paths}


def read(out: Path, part: Part) -> Found | None:
    """What a part found, if it is finished.

    Raises:
        InputError: if it followed from something else, or cannot be read.
    """
    where = place(out, part.name)
    if not where.exists():
        return None
    try:
        content = json.loads(where.read_bytes())
        found: Found = content["found"]
        followed = content["follows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{where} is no part of a study ({first_line(error)}): remove it to compute it again"
        ) from None
    if followed != part.follows:
        raise InputError(
            f"{where} was computed from something else, e.g. another text: remove it, or give "
            "another --out"
        )
    return found


def write(study: Study, found: Mapping[str, Found]) -> Results:
    """Write results, pictures and the report; returns what they tell."""
    results = study.results(found)
    files.write_json(study.out / RESULTS, plain(results.summary))
    lines = [f"# {(type(study).__doc__ or '').splitlines()[0]}", *results.texts]
    with mpl.rc_context({"svg.hashsalt": "ltm_pyro", "svg.fonttype": "none"}):
        for name, picture in results.pictures.items():
            figure = new_figure(*picture.size)
            picture.draw(figure)
            files.write(study.out / f"{name}.png", png(figure))
            files.write(study.out / f"{name}.svg", svg(figure))
            lines.append(f"![{picture.caption}]({name}.png)\n\n{picture.caption}")
    seconds = {
        path.stem: json.loads(path.read_bytes())["seconds"]
        for path in sorted((study.out / PARTS).glob("*.json"))
    }
    lines.append(f"Computed in {in_time(sum(seconds.values()))}, by ltm_pyro {__version__}:")
    lines.append(f"```\n{command(study)}\n```")
    files.write(study.out / REPORT, ("\n\n".join(lines) + "\n").encode())
    return results


def command(study: Study) -> str:
    """What a user types to run a study with these options."""
    from ltm_pyro.experiments.studies import name_of

    words = ["ltm", "study", name_of(type(study))]
    for one in fields(study):
        value = getattr(study, one.name)
        if one.name == "json" or value == one.default:
            continue
        if one.name == "run_folder":
            words.insert(3, value)
        elif is_dataclass(value):
            words += [w for f in fields(value) for w in _option(f.name, getattr(value, f.name), f)]
        else:
            words += _option(one.name, value, one)
    return shlex.join(words)


def _option(name: str, value: Any, of: Any) -> list[str]:
    """An option and its value, as they are typed; nothing where it is the default."""
    option = "--" + (name.replace("_", "." if name.startswith("fast_") else "-"))
    if value is None or value == of.default:
        return []
    if isinstance(value, bool) and of.default is not None:
        return [option if value else "--no-" + option[2:]]
    return [
        w for one in (value if isinstance(value, tuple) else [value]) for w in (option, str(one))
    ]


def in_time(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _seconds(study: Study, left: list[Part]) -> float:
    """How long parts will take."""
    trial = study.trial()
    start = time.perf_counter()
    trial.run()
    return (time.perf_counter() - start) / trial.work * sum(part.work for part in left)


def _as_dict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_dict(one) for name, one in value.items()}
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
