"""Writes, reads, warps and tiles a raster, and asks for what rasterio[s3] is for: S3."""

import json

import boto3
import numpy as np
import rasterio
from click.testing import CliRunner
from rasterio.enums import Resampling
from rasterio.features import geometry_mask, shapes
from rasterio.io import MemoryFile
from rasterio.rio.main import main_group
from rasterio.session import AWSSession
from rasterio.transform import from_bounds
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_geom
from rasterio.windows import Window

HEIGHT, WIDTH = 64, 96
values = np.arange(HEIGHT * WIDTH, dtype="uint16").reshape(HEIGHT, WIDTH)
profile = {
    "driver": "GTiff",
    "height": HEIGHT,
    "width": WIDTH,
    "count": 2,
    "dtype": "uint16",
    "crs": "EPSG:32633",
    "transform": from_bounds(500_000, 5_000_000, 509_600, 5_006_400, WIDTH, HEIGHT),
    "tiled": True,
    "blockxsize": 32,
    "blockysize": 32,
}

for compression in ("deflate", "lzw", "zstd"):
    with MemoryFile() as memory:
        with memory.open(compress=compression, **profile) as written:
            written.write(values, 1)
            written.write(values[::-1], 2)
            written.build_overviews([2, 4], Resampling.average)
        with memory.open() as read:
            assert read.crs.to_epsg() == 32633
            assert read.overviews(1) == [2, 4]
            assert (read.read(1, window=Window(32, 32, 8, 8)) == values[32:40, 32:40]).all()
            # A reprojection needs PROJ's database and its grids.
            with WarpedVRT(read, crs="EPSG:3857", resampling=Resampling.bilinear) as warped:
                assert warped.crs.to_epsg() == 3857
                assert warped.read(1).max() > 6_000

square = {
    "type": "Polygon",
    "coordinates": [[[15, 45], [15.1, 45], [15.1, 45.1], [15, 45.1], [15, 45]]],
}
moved = transform_geom("EPSG:4326", "EPSG:32633", square)
assert abs(moved["coordinates"][0][0][0] - 500_000) < 1
assert geometry_mask([moved], (HEIGHT, WIDTH), profile["transform"]).shape == (HEIGHT, WIDTH)
assert len(list(shapes((values > 100).astype("uint8")))) >= 2

with MemoryFile() as memory:
    with memory.open(driver="PNG", height=8, width=8, count=1, dtype="uint8") as picture:
        picture.write(np.full((1, 8, 8), 7, "uint8"))
    assert memory.read()[1:4] == b"PNG"

session = boto3.Session(region_name="eu-west-1")
with rasterio.Env(AWSSession(session)) as env:
    assert {"GTiff", "COG", "PNG", "JPEG", "VRT"} <= set(env.drivers())
    assert session.client("s3").meta.region_name == "eu-west-1"

# The command's subcommands are entry points.
answer = CliRunner().invoke(main_group, ["transform", "--dst-crs", "EPSG:3857"], "[15.0, 45.0]")
assert answer.exit_code == 0, answer.output
assert round(json.loads(answer.output)[0]) == 1_669_792
print("OK")
