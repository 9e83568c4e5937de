"""Turns outcomes into text for people and JSON for programs."""

from lambdaslim.report.as_json import to_json
from lambdaslim.report.as_text import to_text

__all__ = ["to_json", "to_text"]
