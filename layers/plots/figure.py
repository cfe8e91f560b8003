"""What all pictures share: colours, the size of a figure, how it is written."""

import io
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from layers.replacing import replace_file

# Okabe and Ito's colours, told apart by all common kinds of colour vision.
BLUE, ORANGE, RED, GREY = "#0072B2", "#E69F00", "#D55E00", "#666666"
OF_CLASSES = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", RED, "#F0E442", "#000000")
_SHOWN = 80
"""Pixels of a notebook's page, per inch."""


class Picture(Figure):
    """A figure that needs no display: a notebook shows it, `savefig` writes it."""

    def __init__(self, width: float, height: float) -> None:
        layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.06)
        super().__init__(figsize=(width, height), dpi=150, layout=layout)
        FigureCanvasAgg(self)  # a file, whatever display there is

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """What a notebook shows, and at what size: smaller than its pixels, so that it is sharp."""
        file = io.BytesIO()
        self.savefig(file, format="png")
        width, height = (round(inches * _SHOWN) for inches in self.get_size_inches())
        return file.getvalue(), {"width": width, "height": height}


def formats() -> set[str]:
    """The endings of file names that a picture may have."""
    return set(FigureCanvasAgg.get_supported_filetypes())


def written(figure: Picture, path: Any, **options: Any) -> Picture:
    """The figure, which is written too where a path is given."""
    if path is not None:
        path = Path(path)
        form = path.suffix[1:].lower() or "png"
        replace_file(path, lambda file: figure.savefig(file, format=form, **options), "plots")
    return figure


def plain(axes: Any) -> None:
    """Without a frame, over a pale grid."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
