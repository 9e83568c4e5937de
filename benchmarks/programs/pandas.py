"""Reads, joins, groups and resamples tables, and writes them as Parquet, Feather and HTML."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.dataset as ds
import pyarrow.fs as arrow_fs
import pyarrow.parquet as pq
from pyarrow import feather, ipc, orc

text = "when,shop,amount\n" + "\n".join(
    f"2026-0{1 + day // 28}-{1 + day % 28:02},{'north' if day % 3 else 'south'},{day}.5"
    for day in range(84)
)
sales = pd.read_csv(io.StringIO(text), parse_dates=["when"])
assert sales.dtypes["amount"] == "float64"
assert sales.groupby("shop")["amount"].sum().round().to_dict() == {"north": 2380.0, "south": 1148.0}
weekly = sales.set_index("when").resample("7D")["amount"].agg(["sum", "mean"])
assert weekly["sum"].sum() == sales["amount"].sum()
shops = pd.DataFrame({"shop": ["north", "south"], "city": ["Oslo", "Rome"]})
joined = sales.merge(shops, on="shop", validate="many_to_one")
assert (
    joined.pivot_table(index="city", values="amount", aggfunc="count").loc["Rome", "amount"] == 28
)
local = sales["when"].dt.tz_localize("Europe/Oslo").dt.tz_convert("UTC")
assert local.iloc[0].hour == 23
assert joined.query("amount > 80 and city == 'Oslo'").shape == (3, 4)
assert "<table" in joined.head().to_html()
assert sales["amount"].rolling(7).mean().notna().sum() == 78
assert pd.read_json(io.StringIO(joined.to_json(orient="records"))).shape == joined.shape
assert sales["shop"].astype("category").cat.categories.tolist() == ["north", "south"]
assert sales["shop"].str.upper().str.contains("^SO").sum() == 28
assert str(sales.describe().loc["mean", "amount"]) == "42.0"
assert pd.eval("2 * 3") == 6
assert np.isclose(sales["amount"].ewm(span=5).mean().iloc[-1], 81.5, atol=0.2)

file = io.BytesIO()
for codec in ("snappy", "zstd", "gzip", "brotli", "lz4"):
    file = io.BytesIO()
    joined.to_parquet(file, compression=codec)
    file.seek(0)
    assert pd.read_parquet(file).equals(joined), codec

table = pa.Table.from_pandas(joined, preserve_index=False)
assert pc.sum(table["amount"]).as_py() == sales["amount"].sum()
assert table.group_by("city").aggregate([("amount", "max")]).num_rows == 2
assert pc.strftime(table["when"], format="%Y").unique().to_pylist() == ["2026"]
assert arrow_csv.read_csv(io.BytesIO(text.encode())).num_rows == 84
with tempfile.TemporaryDirectory() as scratch:
    ds.write_dataset(table, scratch, format="parquet", partitioning=["city"])
    part = ds.dataset(scratch, partitioning=["city"]).to_table(filter=ds.field("city") == "Rome")
    assert part.num_rows == 28
    path = str(Path(scratch) / "table.feather")
    feather.write_feather(table, path)
    assert feather.read_table(path).equals(table)
    orc.write_table(table, str(Path(scratch) / "table.orc"))
    assert orc.read_table(str(Path(scratch) / "table.orc")).num_rows == 84
    local_files = arrow_fs.LocalFileSystem()
    assert local_files.get_file_info(path).size > 100
assert pq.read_schema(file).names == ["when", "shop", "amount", "city"]

stream = io.BytesIO()
with ipc.new_stream(stream, table.schema) as writer:
    writer.write_table(table)
assert ipc.open_stream(stream.getvalue()).read_all().num_rows == 84
# Making the client loads everything that S3 needs; nothing is called.
assert arrow_fs.S3FileSystem(anonymous=True, region="eu-west-1").region == "eu-west-1"
print("OK")
