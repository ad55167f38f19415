"""Odd values, and files and JSON that somebody or something has changed."""

import copy
import string

NUMBERS = [0, 1, -1, 2, 3, 7, 255, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**30, -(10**300)]
REALS = [0.0, -0.0, 0.5, 1.0, 1.5, -1.5, 1e-320, 1e308, float("nan"), float("inf"), -float("inf")]
WORDS = [
    "", " ", "no", "None", "true", "\x00", "\ud800", "\x1b[2J", "😀", "a" * 3000, "(", "a|b", "\\",
    "../..", "/dev/null", "/", "~", "%s", "{0}", "__main__:X", "json:loads", "x:", ":", "os:path",
    "mixture", "standard-normal", "Adam", "LBFGS", "bf16", "packed", "٣", "1e5", "0x10", "-", "--",
    "line", "blank-line", "(a+)+$", "\\b", "a.b", "text", "n",
]  # fmt: skip


def value(draw, depth=0):
    """Anything that JSON holds."""
    kinds = [
        lambda: draw.choice(NUMBERS), lambda: draw.choice(REALS), lambda: draw.choice(WORDS),
        lambda: None, lambda: draw.random() < 0.5, lambda: draw.uniform(-2, 2),
        lambda: draw.randrange(-3, 300),
        lambda: "".join(draw.choices(string.printable, k=draw.randrange(9))),
        lambda: [], lambda: {},
    ]  # fmt: skip
    if depth < 2:
        kinds += [
            lambda: [value(draw, depth + 1) for _ in range(draw.randrange(4))],
            lambda: {draw.choice(WORDS[:9]): value(draw, depth + 1) for _ in range(2)},
        ]
    return draw.choice(kinds)()


def places(content, path=()):
    """Every place in nested objects and lists."""
    inner = content.items() if isinstance(content, dict) else enumerate(content)
    for key, one in list(inner):
        yield (*path, key)
        if isinstance(one, dict | list):
            yield from places(one, (*path, key))


def changed(draw, content, times=2, new=value):
    """Nested objects and lists with some values exchanged, left out or added."""
    content = copy.deepcopy(content)
    for _ in range(draw.randrange(1, times + 1)):
        path = draw.choice(list(places(content)) or [()])
        at = content
        for key in path[:-1]:
            at = at[key]
        what = draw.random()
        if not path or what < 0.1:
            if isinstance(at, dict):
                at[draw.choice(WORDS)] = new(draw)
        elif what < 0.2:
            del at[path[-1]]
        else:
            at[path[-1]] = new(draw)
    return content


def damaged(draw, data):
    """Bytes of which some are cut off, exchanged, doubled, left out or put in."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        at, size = draw.randrange(len(data) + 1), draw.choice([1, 1, 2, 4, 8, 40])
        what = draw.randrange(6)
        if what == 0:
            del data[at:]
        elif what == 1 and at < len(data):
            data[at] ^= 1 << draw.randrange(8)
        elif what == 2:
            data[at : at + size] = draw.randbytes(size)
        elif what == 3:
            data[at:at] = data[at : at + size] * draw.choice([1, 3])
        elif what == 4:
            data[at : at + size] = draw.choice([b"\x00", b"\xff"]) * size
        else:
            del data[at : at + size]
    return bytes(data)


def argument(draw):
    """What may stand on a command line."""
    text = draw.choice([*map(str, NUMBERS), *map(str, REALS), *WORDS])
    return text if draw.random() < 0.8 else str(draw.randrange(-2, 40))
