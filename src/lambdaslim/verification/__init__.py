"""Proof on the user's own code: what worked before slimming works after it."""

from lambdaslim.verification.twosided import left_out, verify
from lambdaslim.verification.values import TIMEOUT, Checks, Failure, Verification
from lambdaslim.verification.verifier import Verifier

__all__ = ["TIMEOUT", "Checks", "Failure", "Verification", "Verifier", "left_out", "verify"]
