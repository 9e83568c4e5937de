"""What is handed to functions, and which words code holds."""

from __future__ import annotations

import pytest

from lambdaslim.calls import handed, literals, words

FUNCTIONS = ("client", "resource")


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('boto3.client("s3")', ["s3"]),
        ("boto3.client('dynamo' 'db', region_name=R)", ["dynamodb"]),
        ('session.client(region_name=R, service_name="sqs")', ["sqs"]),
        ('client(\n    "s3",  # where it lies\n    config=Config(a=(1, 2)),\n)', ["s3"]),
        ("client(name)", [None]),
        ('client(f"s{n}")', [None]),
        ('client("s3" if a else "s4")', [None]),
        ("client(*names)", [None]),
        ("client(**options)", [None]),
        ("client(service_name=name)", [None]),
        ("import boto3\nmap(boto3.client, names)", [None]),
        ("import boto3 as b\nmake = b.client\n", [None]),
        ("from boto3 import client as c\nc('s3')", [None]),
        ("from boto3 import client, resource\nclient('s3'); resource('sns')", ["s3", "sns"]),
        ("client()", []),
        ("def client(name): ...", []),
        ("self.client.get_object(Bucket=b)", []),
        ("# client('s3')\n'client(name)'", []),
        ("boto3.client(\n", []),
        ("client('s3', [" + "0, " * 3_000 + "])", ["s3"]),
        ("client(options, [" + "0, " * 3_000 + "], service_name='s3')", [None]),
    ],
)
def test_what_calls_are_given(source: str, names: list[str | None]) -> None:
    assert list(handed(source.encode(), FUNCTIONS, "service_name")) == names


def test_calls_within_calls_take_no_time_in_the_power_of_their_number() -> None:
    assert set(handed(b"client(" * 20_000, FUNCTIONS, "service_name")) == {None}


def test_words_in_quotes() -> None:
    assert literals(b"""x = ["s3", 'sso-oidc', "a b", 3]  # "sqs" """) == {"s3", "sso-oidc", "sqs"}


def test_words_of_code() -> None:
    source = b'"""Of one."""\nimport two.three  # four\nx = "five six"\n'
    assert words(source) == {"import", "two", "three", "x", "five", "six"}
