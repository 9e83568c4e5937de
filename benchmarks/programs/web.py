"""An API behind Mangum that stores orders with SQLAlchemy and talks to AWS with boto3."""

import base64
import json
from typing import Annotated

import boto3
from botocore.stub import Stubber
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import HTMLResponse, StreamingResponse
from mangum import Mangum
from pydantic import BaseModel, Field
from sqlalchemy import ForeignKey, create_engine, event, func, inspect, select
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
)
from sqlalchemy.pool import StaticPool


class Base(DeclarativeBase):
    """The tables."""


class Customer(Base):
    """Who orders."""

    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    orders: Mapped[list["Order"]] = relationship(back_populates="customer")


class Order(Base):
    """What is ordered."""

    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id"))
    amount: Mapped[float]
    customer: Mapped[Customer] = relationship(back_populates="orders")


class NewOrder(BaseModel):
    """What a client sends."""

    name: str = Field(min_length=2)
    amount: float = Field(gt=0)


engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
statements: list[str] = []


@event.listens_for(engine, "before_cursor_execute")
def record(_connection, _cursor, statement, *_rest):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN002, ANN201, D103
    statements.append(statement)


Base.metadata.create_all(engine)
assert inspect(engine).get_table_names() == ["customer", "order"]
app = FastAPI(title="Orders")


async def caller(authorization: Annotated[str, Header()]) -> str:
    """Return who calls."""
    if not authorization.startswith("Bearer "):
        raise HTTPException(401, "who are you?")
    return authorization.removeprefix("Bearer ")


@app.post("/orders", status_code=201)
def create(order: NewOrder, who: Annotated[str, Depends(caller)]) -> dict[str, object]:
    """Store an order."""
    with Session(engine) as session, session.begin():
        customer = session.scalar(select(Customer).filter_by(name=order.name))
        customer = customer or Customer(name=order.name)
        customer.orders.append(Order(amount=order.amount))
        session.add(customer)
        session.flush()
        return {"customer": customer.id, "orders": len(customer.orders), "by": who}


@app.get("/stream")
def stream() -> StreamingResponse:
    """Answer in parts."""
    return StreamingResponse(iter([b"a", b"b"]), media_type="application/octet-stream")


@app.get("/page", response_class=HTMLResponse)
async def page() -> str:
    """Answer with a page."""
    return "<p>hello</p>"


handler = Mangum(app, lifespan="off")


def call(method: str, path: str, body: object = None) -> tuple[int, str]:
    """Invoke the handler as an HTTP API would."""
    http = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"}
    context = {"http": http, "stage": "$default", "requestId": "1", "domainName": "example.com"}
    answer = handler(
        {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": "",
            "headers": {"content-type": "application/json", "authorization": "Bearer eve"},
            "requestContext": context,
            "body": json.dumps(body),
            "isBase64Encoded": False,
        },
        None,
    )
    content = answer["body"]
    if answer["isBase64Encoded"]:
        content = base64.b64decode(content).decode()
    return answer["statusCode"], content


status, body = call("POST", "/orders", {"name": "Ann", "amount": 2.5})
assert (status, json.loads(body)) == (201, {"customer": 1, "orders": 1, "by": "eve"}), body
assert json.loads(call("POST", "/orders", {"name": "Ann", "amount": 4})[1])["orders"] == 2
status, body = call("POST", "/orders", {"name": "A", "amount": -1})
assert status == 422
assert {row["loc"][1] for row in json.loads(body)["detail"]} == {"name", "amount"}
assert call("GET", "/stream") == (200, "ab")
assert call("GET", "/page") == (200, "<p>hello</p>")
assert call("GET", "/docs")[0] == 200
paths = json.loads(call("GET", "/openapi.json")[1])["paths"]
assert paths["/orders"]["post"]["summary"] == "Create"
assert any(statement.startswith("INSERT") for statement in statements)

with Session(engine) as session:
    total = session.scalar(select(func.sum(Order.amount)).join(Order.customer))
    assert total == 6.5
    customers = session.scalars(select(Customer).options(selectinload(Customer.orders))).all()
    assert [order.amount for order in customers[0].orders] == [2.5, 4]
    session.add(Customer(name="Ann"))
    try:
        session.commit()
    except IntegrityError:
        session.rollback()
    else:
        raise AssertionError
upsert = postgresql.insert(Customer).values(name="Bo").on_conflict_do_nothing()
assert "ON CONFLICT" in str(upsert.compile(dialect=postgresql.dialect()))
assert "`order`" in str(select(Order).compile(dialect=mysql.dialect()))

s3 = boto3.client("s3")
with Stubber(s3) as stub:
    stub.add_response("list_buckets", {"Buckets": [{"Name": "one"}]})
    assert s3.list_buckets()["Buckets"][0]["Name"] == "one"
assert "Signature" in s3.generate_presigned_url("get_object", {"Bucket": "one", "Key": "two"})
assert boto3.resource("dynamodb").Table("orders").table_name == "orders"
assert boto3.client("sqs").get_paginator("list_queues")
print("OK")
