"""Charts and pictures, from plain tensors; the same input gives the same bytes."""

import base64
import io
import re
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cleanse.utils.text import readable

INK = "#010203"
"""Stands for the page's text color while matplotlib draws."""
COLORS = (
    "#7b838d", "#0c7bc9", "#d4511c", "#9a58cc", "#3f7d20", "#8a6d00", "#c2377f", "#0b8385", "#5f66d9", "#a15c38"
)  # fmt: skip
"""At least 3:1 against the light and the dark page; the first four are told apart by the color-blind."""
MARKERS = ("o", "^", "X", "s")
_WIDTH = 5.2  # inches; narrow, so that texts stay readable on a phone


class Chart:
    """A drawn figure, for a page or as pixels."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def svg(self, salt: str) -> str:
        """As SVG in the page's own colors; ``salt`` makes the ids of this chart unique in its page."""
        from matplotlib import rc_context

        file = io.StringIO()
        with rc_context({**_STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a glyph that our font lacks: the reader's browser draws it
            self.figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        text = file.getvalue()
        text = text[text.index("<svg") :].replace(INK, "currentColor")
        text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
        text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
        text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
        return re.sub(r'( id="|"#|url\(#)', rf"\1{salt}-", text)

    def pixels(self, dpi: int = 144) -> Tensor:
        """(3, H, W) uint8, on white."""
        from matplotlib import rc_context
        from PIL import Image

        file = io.BytesIO()
        with rc_context(_STYLE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a glyph that our font lacks
            self.figure.savefig(file, format="png", dpi=dpi, facecolor="white")
        return pil_to_tensor(Image.open(file))


def pil_to_tensor(picture: Any) -> Tensor:
    """A PIL picture to (3, H, W) uint8."""
    rgb = picture.convert("RGB")
    return torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8).view(rgb.height, rgb.width, 3).permute(2, 0, 1)


def stacked_bars(counts: Tensor, rows: Sequence[str], groups: Sequence[str]) -> Chart:
    """One bar for each row, a part for each group.

    Args:
        counts: (R, G) int64.
        rows, groups: R and G names.
    """
    figure, axes = _empty(0.7 + 0.3 * max(len(rows), 2))
    left = torch.zeros(len(rows))
    place = list(range(len(rows)))
    for g, name in enumerate(groups):
        width = counts[:, g].float()
        axes.barh(place, width.tolist(), left=left.tolist(), color=COLORS[g], label=name, height=0.75)
        left += width
    axes.set_yticks(place, [readable(name, 22) for name in rows])
    axes.invert_yaxis()
    axes.set_xlabel("images")
    _legend(axes, len(groups))
    return Chart(figure)


def histogram(
    score: Tensor, group: Tensor, groups: Sequence[str], threshold: float | None = None, bins: int = 40
) -> Chart:
    """How many images have which score; infinite scores are left out, the scale is logarithmic.

    Args:
        score: (n,) float.
        group: (n,) int64, an index into ``groups``.
        groups: names; one without an image is left out.
        threshold: marked with a line; None for no line.
        bins: of equal width.
    """
    figure, axes = _empty(2.9)
    finite = score.isfinite()
    score, group = score[finite].double(), group[finite]
    low, high = (float(score.min()), float(score.max())) if len(score) else (0.0, 1.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
    which = torch.bucketize(score, edges[1:-1])
    for g, name in enumerate(groups):
        if (group == g).any():
            height = torch.bincount(which[group == g], minlength=bins)
            axes.stairs(
                height.tolist(), edges.tolist(), color=COLORS[g], label=name, fill=True, alpha=0.35, linewidth=0
            )
            axes.stairs(height.tolist(), edges.tolist(), color=COLORS[g], linewidth=1.6)
    if threshold is not None:
        axes.axvline(threshold, color=INK, linestyle=(0, (4, 3)), linewidth=1.4, label="threshold")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    axes.set_xlabel("score (higher is more suspicious)")
    axes.set_ylabel("images")
    _legend(axes, len(groups) + 1)
    return Chart(figure)


def scatter(points: Tensor, group: Tensor, groups: Sequence[str]) -> Chart:
    """A map of points, a color and a shape for each group.

    Args:
        points: (n, 2) float.
        group: (n,) int64, an index into ``groups``.
        groups: names; one without a point is left out.
    """
    figure, axes = _empty(4.2)
    for g, name in enumerate(groups):
        own = points[group == g]
        if len(own):
            size = 9 if g == 0 else 20
            axes.scatter(
                own[:, 0].tolist(), own[:, 1].tolist(), s=size, c=COLORS[g], marker=MARKERS[g], label=name,
                linewidths=0, alpha=0.6 if g == 0 else 0.9,
            )  # fmt: skip
    axes.set_xlabel("first principal component")
    axes.set_ylabel("second")
    axes.set_xticks([])
    axes.set_yticks([])
    _legend(axes, len(groups))
    return Chart(figure)


def outlined_scatter(points: Tensor, group: Tensor, groups: Sequence[str], outlined: Tensor, outline: str) -> Chart:
    """A map of points, a color for each group, and a dark outline around some of them.

    Args:
        points: (n, 2) float.
        group: (n,) int64, an index into ``groups``.
        groups: at most ten names; one without a point is left out.
        outlined: (n,) bool.
        outline: what an outline means.
    """
    figure, axes = _empty(4.2 + 0.2 * (len(groups) // 3))
    for g, name in enumerate(groups):
        own = points[(group == g) & ~outlined]
        axes.scatter(*own.T.tolist(), s=9, c=COLORS[g], label=readable(name, 18), linewidths=0, alpha=0.55)
    for g in range(len(groups)):
        own = points[(group == g) & outlined]
        axes.scatter(*own.T.tolist(), s=22, c=COLORS[g], edgecolors=INK, linewidths=1.1)
    axes.scatter([], [], s=22, c="none", edgecolors=INK, linewidths=1.1, label=outline)
    axes.set_xlabel("first principal component")
    axes.set_ylabel("second")
    axes.set_xticks([])
    axes.set_yticks([])
    _legend(axes, 3)
    return Chart(figure)


def principal_plane(features: Tensor) -> Tensor:
    """(n, D) features to (n, 2): their two principal components, the sign such that the largest value is positive.

    The two eigenvectors are those of the smaller one of the products of the rows with themselves: of 360 rows of 1,280
    numbers they took 0.3 seconds of a processor where all singular vectors took 3.3, of 1,500 rows 4.2 for 8.8.

    >>> principal_plane(torch.tensor([[0.0, 0, 0], [3, 0, 0], [6, 0, 0], [0, 0, 0]])).round(decimals=2)[:, 0].tolist()
    [-2.25, 0.75, 3.75, -2.25]
    """
    from scipy.linalg import eigh

    rows = features.double().numpy()
    rows = rows - rows.mean(axis=0)
    wide = rows.shape[0] < rows.shape[1]
    product = rows @ rows.T if wide else rows.T @ rows
    parts = min(2, len(product))
    values, vectors = eigh(product, subset_by_index=(len(product) - parts, len(product) - 1))
    plane = torch.from_numpy(vectors * values.clip(min=0) ** 0.5 if wide else rows @ vectors).flip(1)
    largest = plane.gather(0, plane.abs().argmax(0, keepdim=True))
    return torch.nn.functional.pad(plane * largest.sign(), (0, 2 - parts)).float()


def data_address(image: Tensor, most: int = 96) -> str:
    """A (C, H, W) uint8 image as the address of a PNG picture of at most ``most`` x ``most`` pixels."""
    from PIL import Image

    pixels = image[:3] if len(image) >= 3 else image[:1]
    picture = Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy())
    picture.thumbnail((most, most))
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def heat(image: Tensor, saliency: Tensor, most: int = 96) -> Tensor:
    """Saliency as a glow on a grayed image.

    Args:
        image: (C, H, W) uint8.
        saliency: (H, W) float in [0, 1].
        most: pixels of the longer side, to which small images are enlarged so that the glow is smooth.

    Returns:
        (3, H', W') uint8.
    """
    from matplotlib import colormaps

    scale = most / max(image.shape[1:])
    size = [max(1, round(scale * s)) for s in image.shape[1:]]
    gray = interpolate(image[:3].float().mean(0)[None, None] / 255, size, mode="nearest")[0, 0]
    glow = interpolate(saliency[None, None].float(), size, mode="bilinear")[0, 0].clamp(0, 1)
    color = torch.from_numpy(colormaps["inferno"](glow.numpy())[..., :3]).float()
    mixed = 0.35 * gray[..., None] + 0.65 * color
    return (mixed * 255).round().to(torch.uint8).permute(2, 0, 1)


def signed(difference: Tensor) -> Tensor:
    """A mean difference as a picture: gray where there is none, lighter or darker where there is one, at full contrast.

    Args:
        difference: (C, H, W) float in [-1, 1].

    Returns:
        (C, H, W) uint8.
    """
    largest = difference.abs().max().clamp(min=1e-6)
    return (127.5 + 127.5 * difference / largest).round().clamp(0, 255).to(torch.uint8)


def enlarged(image: Tensor, least: int = 64) -> Tensor:
    """A small (C, H, W) picture by a whole factor larger, so that nothing blurs it."""
    factor = max(1, least // max(image.shape[1:]))
    return image.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def place(x: float, y: float) -> str:
    """Where a point of the unit square is, y downwards, in words.

    >>> place(0.9, 0.95), place(0.5, 0.5), place(0.1, 0.5)
    ('lower right', 'middle', 'left')
    """
    return _PLACES[min(2, int(3 * y))][min(2, int(3 * x))]


def _empty(height: float):  # type: ignore[no-untyped-def]  # matplotlib is loaded only here
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(axes, columns: int) -> None:  # type: ignore[no-untyped-def]
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=columns,
            frameon=False,
            borderaxespad=0.2,
            markerscale=1.6,
            columnspacing=1.2,
            handlelength=1.5,
            handletextpad=0.5,
        )


_PLACES = (("upper left", "top", "upper right"), ("left", "middle", "right"), ("lower left", "bottom", "lower right"))
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 10, "font.family": "sans-serif",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
}  # fmt: skip
