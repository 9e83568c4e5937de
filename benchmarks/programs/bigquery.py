"""Runs a query, loads rows and lists tables, against a stand-in for BigQuery on the loopback."""

import datetime as dt
import decimal
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import google.auth
import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api_core import exceptions, retry
from google.auth import crypt, jwt
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery import dbapi
from google.oauth2 import service_account
from google.protobuf import timestamp_pb2
from google.rpc import status_pb2
from grpc_status import rpc_status

JOB = {
    "jobReference": {"projectId": "p", "jobId": "j", "location": "EU"},
    "configuration": {"query": {"query": "SELECT 1"}},
    "status": {"state": "DONE"},
    "statistics": {"query": {"totalBytesProcessed": "10", "statementType": "SELECT"}},
}
FIELDS = [
    {"name": "name", "type": "STRING"},
    {"name": "price", "type": "NUMERIC"},
    {"name": "when", "type": "TIMESTAMP"},
    {"name": "tags", "type": "STRING", "mode": "REPEATED"},
]
ROW = {"f": [{"v": "a"}, {"v": "1.50"}, {"v": "1764028800000000"}, {"v": [{"v": "x"}, {"v": "y"}]}]}
PAGE = {
    "kind": "bigquery#queryResponse",
    "jobComplete": True,
    "schema": {"fields": FIELDS},
    "rows": [ROW],
    "totalRows": "1",
    "jobReference": JOB["jobReference"],
}
LISTED = {"tables": [{"tableReference": {"projectId": "p", "datasetId": "d", "tableId": "t"}}]}


class Api(BaseHTTPRequestHandler):
    """Knows one job and one table."""

    def answer(self) -> None:
        """Answer by the path alone."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0].removeprefix("/bigquery/v2/projects/p/")
        known = {"jobs": JOB, "jobs/j": JOB, "queries": PAGE, "queries/j": PAGE}
        known |= {"datasets/d/tables": LISTED, "datasets/d/tables/t/insertAll": {}}
        missing = {"error": {"code": 404, "message": "no such thing"}}
        body = json.dumps(known.get(path, missing)).encode()
        self.send_response(200 if path in known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 - names that http.server looks for

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


server = HTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
endpoint = {"api_endpoint": f"http://127.0.0.1:{server.server_port}"}
client = bigquery.Client("p", credentials=AnonymousCredentials(), client_options=endpoint)

parameters = [
    bigquery.ScalarQueryParameter("least", "NUMERIC", decimal.Decimal(1)),
    bigquery.ArrayQueryParameter("names", "STRING", ["a", "b"]),
]
config = bigquery.QueryJobConfig(query_parameters=parameters, use_query_cache=False)
rows = list(client.query("SELECT * FROM d.t WHERE price > @least", job_config=config).result())
assert rows[0]["name"] == "a"
assert rows[0].price == decimal.Decimal("1.50")
assert rows[0].when == dt.datetime(2025, 11, 25, tzinfo=dt.UTC)
assert rows[0].tags == ["x", "y"]
assert next(iter(client.query_and_wait("SELECT 1")))["name"] == "a"
assert [table.table_id for table in client.list_tables("p.d")] == ["t"]
schema = [bigquery.SchemaField.from_api_repr(field) for field in FIELDS]
table = bigquery.Table("p.d.t", schema)
table.time_partitioning = bigquery.TimePartitioning(field="when")
assert table.to_api_repr()["timePartitioning"]["field"] == "when"
row = {
    "name": "b",
    "price": decimal.Decimal(2),
    "when": dt.datetime.now(dt.UTC),
}
assert client.insert_rows(table, [row]) == []
try:
    client.get_table("p.d.none", retry=retry.Retry(deadline=1))
except exceptions.NotFound:
    pass
else:
    raise AssertionError
cursor = dbapi.connect(client).cursor()
cursor.execute("SELECT 1")
assert cursor.fetchone()[0] == "a"

# How a function signs itself in: a key, a signed token, and what looks for credentials.
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
pem = key.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)
account = {"client_email": "a@example.com", "private_key": pem.decode(), "token_uri": "https://t"}
credentials = service_account.Credentials.from_service_account_info(account)
public = key.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
now = int(dt.datetime.now(dt.UTC).timestamp())
token = jwt.encode(crypt.RSASigner.from_string(pem), {"iat": now, "exp": now + 60, "sub": "a"})
assert jwt.decode(token, public)["sub"] == "a"
assert credentials.service_account_email == "a@example.com"
assert callable(google.auth.default)

# gRPC, which the client brings along: a real channel, and the status that errors carry.
time = timestamp_pb2.Timestamp()
time.FromJsonString("2026-11-25T00:00:00Z")
assert time.ToSeconds() == 1795564800
status = rpc_status.to_status(status_pb2.Status(code=5, message="none"))
assert status.code is grpc.StatusCode.NOT_FOUND
with grpc.insecure_channel("127.0.0.1:1") as channel:
    ask = channel.unary_unary("/a/b", request_serializer=bytes, response_deserializer=bytes)
    try:
        ask(b"", timeout=2)
    except grpc.RpcError as error:
        code = error.code()
assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
assert grpc.ssl_channel_credentials()
print("OK")
