"""What every picture has to have."""

from matplotlib.axes import Axes

UNITS = (
    "nats/token", "nats/row", "nats/document", "fraction", "k-hat", "draws", "standard deviations",
    "log of", "layer.slot",
)  # fmt: skip


def dressed(ax: Axes) -> Axes:
    """The axis, if it has a title, words on both sides, a unit, and names that do not collide."""
    assert ax.get_title(loc="left")
    assert ax.get_xlabel()
    assert any(unit in ax.get_ylabel() for unit in UNITS), ax.get_ylabel()
    assert not ax.spines["top"].get_visible()
    figure = ax.figure
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_transform() != ax.transAxes]
    names = [box for box in boxes if box.x0 >= ax.get_window_extent().x1]
    for i, one in enumerate(names):
        for other in names[:i]:
            assert one.y0 >= other.y1 - 3 or other.y0 >= one.y1 - 3  # of pixels
    return ax
