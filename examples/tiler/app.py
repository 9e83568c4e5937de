"""A Lambda handler that renders a map tile: the example that lambdaslim packs.

The raster is made in memory, so that the example needs no bucket; `rasterio.open("s3://...")` in
place of `world()` makes a real tiler of it.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.transform import from_bounds as transform_of
from rasterio.windows import from_bounds as window_of

#: Half the side of the web-mercator square, in metres.
EDGE = 20_037_508.342789244
#: Width and height of a tile, in pixels.
TILE = 256
#: Width and height of the raster: tiles of zoom level 2 have its own resolution.
SIDE = 1024
#: The highest zoom level that still shows a pixel of the raster per tile.
DEEPEST = 10


def gradient() -> NDArray[np.uint8]:
    """Return the raster's pixels, (3, SIDE, SIDE) bytes: red eastwards, green southwards, blue."""
    ramp = (np.arange(SIDE) * 256 // SIDE).astype("uint8")
    red = np.broadcast_to(ramp, (SIDE, SIDE))
    green = red.T
    return np.stack([red, green, red ^ green])


@functools.cache
def world() -> MemoryFile:
    """Return a GeoTIFF of the whole world in memory, made once per execution environment."""
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 3,
        "width": SIDE,
        "height": SIDE,
        "crs": CRS.from_epsg(3857),
        "transform": transform_of(-EDGE, -EDGE, EDGE, EDGE, SIDE, SIDE),
        "tiled": True,
        "compress": "deflate",
    }
    memory = MemoryFile()
    with memory.open(**profile) as raster:
        raster.write(gradient())
    return memory


def bounds(z: int, x: int, y: int) -> tuple[float, float, float, float]:
    """Return west, south, east and north of a tile, in web-mercator metres.

    Raises:
        ValueError: there is no such tile.
    """
    if not 0 <= z <= DEEPEST or not 0 <= x < 2**z or not 0 <= y < 2**z:
        raise ValueError(f"there is no tile {z}/{x}/{y}")
    side = 2 * EDGE / 2**z
    west, north = x * side - EDGE, EDGE - y * side
    return west, north - side, west + side, north


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return (3, TILE, TILE) bytes as a PNG file.

    The tile's position goes in as well: rasterio warns about an image without one.
    """
    profile = {"driver": "PNG", "dtype": "uint8", "count": 3, "width": TILE, "height": TILE}
    with MemoryFile() as memory:
        with memory.open(**profile, transform=transform_of(0, 0, 1, 1, TILE, TILE)) as image:
            image.write(pixels)
        return bytes(memory.read())


def render(z: int, x: int, y: int) -> bytes:
    """Return a tile as a PNG file.

    Raises:
        ValueError: there is no such tile.
    """
    place = bounds(z, x, y)
    with world().open() as raster:
        pixels = raster.read(
            window=window_of(*place, transform=raster.transform),
            out_shape=(3, TILE, TILE),
            resampling=Resampling.bilinear,
        )
    return png(pixels)


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Answer `{"z": ..., "x": ..., "y": ...}` as API Gateway wants it: a PNG, or a 400."""
    try:
        body = render(int(event["z"]), int(event["x"]), int(event["y"]))
    except (KeyError, TypeError, ValueError) as error:
        return {
            "statusCode": 400,
            "headers": {"Content-Type": "text/plain"},
            "isBase64Encoded": False,
            "body": f"wanted the z, x and y of a tile: {error}",
        }
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "image/png"},
        "isBase64Encoded": True,
        "body": base64.b64encode(body).decode("ascii"),
    }
