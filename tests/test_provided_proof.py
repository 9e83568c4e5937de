"""What DropProvided leaves out works against the runtime's versions; what would not is kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from disk import populate
from interpreters import find_interpreters
from lambdaslim import Checks, runtimes, slim
from vendored import Vendor

# Nobody has said yet what the preview runtime provides.
VERSIONS = [
    found
    for found in find_interpreters()
    if found >= (3, 10) and runtimes.load("python{}.{}".format(*found)).provided
]
# What each set does: with the SDK that it sees, and with its own code on top of it.
CLIENT = """
import boto3, botocore
client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a",
                      aws_secret_access_key="b")
url = client.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"})
assert "X-Amz-Signature" in url or "Signature=" in url, url
"""
ASYNC = """
import asyncio
from aiobotocore.session import get_session

async def main():
    async with get_session().create_client("s3", region_name="us-east-1", aws_access_key_id="a",
                                           aws_secret_access_key="b") as client:
        url = await client.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"})
        assert "Signature" in url, url

asyncio.run(main())
"""
FILES = """
import s3fs
files = s3fs.S3FileSystem(key="a", secret="b", client_kwargs={"region_name": "us-east-1"})
assert "Signature" in files.sign("bucket/key")
"""
FRAMES = """
import awswrangler, pandas
assert awswrangler.__version__
frame = pandas.DataFrame({"a": [1, 2]})
assert awswrangler.catalog.extract_athena_types(df=frame)[0]["a"] == "bigint"
"""
SETS = {
    "boto3": (("boto3", "six"), CLIENT),
    "boto3-old": (("boto3==1.26.0",), CLIENT),
    "aiobotocore": (("aiobotocore",), ASYNC),
    "s3fs": (("s3fs",), FILES),
    "awswrangler": (("awswrangler", "pandas"), FRAMES),
}
# Each set on runtimes that decide differently about it; the largest takes as long as all others.
CASES = [
    *((version, "boto3") for version in VERSIONS),
    *(((3, 11), name) for name in ("boto3-old", "s3fs")),
    *(((3, 13), name) for name in ("aiobotocore", "s3fs", "awswrangler")),
]


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.interpreter
@pytest.mark.parametrize(("version", "name"), CASES, ids=lambda one: str(one).replace(" ", ""))
def test_what_is_left_works_beside_the_runtime(
    version: tuple[int, int], name: str, vendored: Vendor, tmp_path: Path
) -> None:
    if version not in VERSIONS:
        pytest.skip("no CPython {}.{} on this machine".format(*version))
    requirements, program = SETS[name]
    python = find_interpreters()[version]
    place = vendored(*requirements, python=python)
    # The function's own code, without which the SDK alone would be what was vendored.
    own = populate(tmp_path / "own", {"app.py": "x = 1\n"})
    smoke = populate(tmp_path / "smoke", {"smoke.py": program}) / "smoke.py"
    cache = place.parent / "verification"
    done = slim(
        [place, own],
        tmp_path / "out",
        runtime="python{}.{}".format(*version),
        interpreter=python,
        allow=["compat-glibc", "compat-library-missing"],
        verify=Checks(imports=False, run=f"python {smoke}"),
        cache=cache,
    )
    assert done.verification is not None
    assert (done.verification.failures, done.verification.checked) == ((), {"command": 1})
    changes = [one for one in done.result.changes if one.path.startswith("botocore/")]
    kept = {one.path: one.reason for one in done.result.kept}
    if "botocore" in kept:  # all or nothing, and the requirement says why
        assert re.search(" requires | nobody has observed", kept["botocore"])
        assert [path for path in done.result.after if path.startswith("botocore/")]
    else:  # the runtime's one was used: the package holds none
        assert changes
        assert not [path for path in done.result.after if path.startswith("botocore/")]
