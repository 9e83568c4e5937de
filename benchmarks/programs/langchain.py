"""An agent with a tool, against a stand-in for OpenAI's API on the loopback."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TypedDict

import openai
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolCall
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    degrees: float


class Api(BaseHTTPRequestHandler):
    """Answers chats whole and in parts, and embeddings."""

    def do_POST(self) -> None:
        """Answer what was asked for."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body, kind = answer(self.path, asked)
        self.send_response(404 if asked.get("model") == "none" else 200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def answer(path: str, asked: dict[str, object]) -> tuple[bytes, str]:
    """Return what the real service would return: the body, and its type."""
    if path.endswith("/embeddings"):
        row = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        whole = {"object": "list", "data": [row], "model": "m", "usage": usage}
        return json.dumps(whole).encode(), "application/json"
    chat = {"id": "c", "created": 1, "model": "m"}
    text = '{"city": "Oslo", "degrees": -3}'
    if asked.get("stream"):
        parts = [
            {"index": 0, "delta": {"role": "assistant", "content": part}, "finish_reason": None}
            for part in (text[:9], text[9:])
        ]
        kind = {**chat, "object": "chat.completion.chunk"}
        events = [json.dumps({**kind, "choices": [part]}) for part in parts]
        return "".join(f"data: {one}\n\n" for one in [*events, "[DONE]"]).encode(), (
            "text/event-stream"
        )
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {**chat, "object": "chat.completion", "choices": [choice]}
    return json.dumps(whole).encode(), "application/json"


server = HTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = OpenAI(api_key="key", base_url=f"http://127.0.0.1:{server.server_port}/v1")
question = [{"role": "user", "content": "weather?"}]
chat = client.chat.completions.parse(model="m", messages=question, response_format=Weather)
assert chat.choices[0].message.parsed == Weather(city="Oslo", degrees=-3)
parts = client.chat.completions.create(model="m", messages=question, stream=True)
assert "Oslo" in "".join(part.choices[0].delta.content or "" for part in parts)
assert client.embeddings.create(model="m", input="x").data[0].embedding == [0.5, 0.25]
assert pydantic_function_tool(Weather)["function"]["description"] == "The weather in a city."
try:
    client.chat.completions.create(model="none", messages=question)
except openai.NotFoundError:
    pass
else:
    raise AssertionError


@tool
def measure(city: str) -> float:
    """Measure the temperature of a city."""
    return float(len(city))


assert measure.invoke({"city": "Oslo"}) == 4
assert measure.description == "Measure the temperature of a city."
call = ToolCall(name="measure", args={"city": "Bergen"}, id="1")


class Scripted(GenericFakeChatModel):
    """A model that says what it was told to."""

    def bind_tools(self, *_arguments: object, **_options: object) -> "Scripted":
        """Take tools, which change nothing."""
        return self


model = Scripted(
    messages=iter([AIMessage(content="", tool_calls=[call]), AIMessage(content="6 degrees")])
)
agent = create_agent(model, [measure], system_prompt="Be brief.", checkpointer=InMemorySaver())
state = agent.invoke({"messages": [HumanMessage("Bergen?")]}, {"configurable": {"thread_id": "1"}})
assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
assert state["messages"][2].content == "6.0"
assert len(list(agent.get_state_history({"configurable": {"thread_id": "1"}}))) >= 4

prompt = ChatPromptTemplate.from_messages(
    [("system", "In {language}."), MessagesPlaceholder("past")]
)
reply = Scripted(messages=iter(['{"city": "Rome", "degrees": 20}'] * 3))
asked = {"language": "Latin", "past": [("human", "?")]}
assert (prompt | reply | JsonOutputParser()).invoke(asked)["city"] == "Rome"
parser = PydanticOutputParser(pydantic_object=Weather)
assert "degrees" in parser.get_format_instructions()
assert (prompt | reply | parser).invoke(asked).degrees == 20
both = RunnableParallel(one=RunnableLambda(len), two=lambda text: text[::-1])
assert both.batch(["ab", "c"]) == [{"one": 2, "two": "ba"}, {"one": 1, "two": "c"}]


class State(TypedDict):
    """What the graph carries."""

    count: int


graph = StateGraph(State)
graph.add_node("more", lambda state: {"count": state["count"] + 1})
graph.add_edge(START, "more")
graph.add_conditional_edges("more", lambda state: END if state["count"] > 3 else "more")
assert graph.compile().invoke({"count": 0}) == {"count": 4}
assert InMemoryVectorStore
print("OK")
