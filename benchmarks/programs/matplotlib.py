"""Draws lines, images, bars, maps of colours and surfaces, in every format that needs no window."""

import io
import warnings

import matplotlib as mpl
import numpy as np

mpl.use("agg")

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
from matplotlib import animation, colors, font_manager, patches
from PIL import Image

warnings.simplefilter("error", UserWarning)
figure, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
days = np.arange("2026-01-01", "2026-03-01", dtype="datetime64[D]")
axes[0, 0].plot(days, np.cumsum(np.sin(np.arange(len(days)))), label=r"$\sum_i \sin(x_i)$")
axes[0, 0].xaxis.set_major_formatter(mdates.ConciseDateFormatter(mdates.AutoDateLocator()))
axes[0, 0].legend()
picture = axes[0, 1].imshow(np.outer(np.arange(16), np.arange(16)), cmap="viridis")
figure.colorbar(picture, ax=axes[0, 1])
axes[0, 2].hist(np.random.default_rng(1).normal(size=200), bins=20, hatch="/")
axes[1, 0].contourf(*np.meshgrid(range(8), range(8)), np.random.default_rng(2).random((8, 8)))
axes[1, 1].boxplot([[1, 2, 3, 9], [2, 3, 4]])
axes[1, 1].set_title("Größe, ∆ and ½", fontfamily="serif", fontstyle="italic")
axes[1, 2].add_patch(patches.FancyArrowPatch((0, 0), (1, 1), mutation_scale=20))
axes[1, 2].annotate("there", (0.5, 0.5), fontweight="bold", family="monospace")

STARTS = {
    "png": b"\x89PNG",
    "pdf": b"%PDF",
    "svg": b"<?xml",
    "ps": b"%!PS",
    "jpg": b"\xff\xd8",
    "webp": b"RIFF",
    "tif": b"II*\x00",
}
for kind, start in STARTS.items():
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=50)
    assert file.getvalue().startswith(start), kind
    assert len(file.getvalue()) > 5_000, kind
with mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):
    for kind in ("pdf", "svg"):
        figure.savefig(io.BytesIO(), format=kind)

space = plt.figure()
surface = space.add_subplot(projection="3d")
surface.plot_surface(*np.mgrid[0:5, 0:5], np.eye(5), cmap="plasma")
polar = space.add_axes((0.7, 0.7, 0.2, 0.2), projection="polar")
polar.plot(np.linspace(0, 6, 20), np.linspace(0, 1, 20))
space.savefig(io.BytesIO(), format="png")

for style in ("ggplot", "seaborn-v0_8-darkgrid", "dark_background"):
    with plt.style.context(style):
        plt.figure()
        plt.bar(["a", "b"], [1, 2])
        plt.savefig(io.BytesIO(), format="png")
with mpl.rc_context({"mathtext.fontset": "stix"}):
    formula = plt.figure()
    formula.text(0.1, 0.5, r"$\frac{\partial f}{\partial x} = \int_0^1 \sqrt{x}\,dx$")
    formula.savefig(io.BytesIO(), format="png")

film = animation.FuncAnimation(space, lambda step: [surface.view_init(30, step * 10)], frames=3)
assert film.to_jshtml(fps=2, embed_frames=True).count("data:image/png") == 3
assert font_manager.findfont("DejaVu Sans", fallback_to_default=False).endswith(".ttf")
assert len(plt.colormaps()) > 100
assert colors.to_hex("xkcd:sky blue") == "#75bbfd"
file = io.BytesIO()
figure.savefig(file, format="png")
assert Image.open(file).convert("L").resize((90, 60), Image.Resampling.LANCZOS).size == (90, 60)
print("OK")
