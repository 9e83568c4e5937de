"""Proof on the user's own code: what worked before slimming works after it."""

from lambdaslim.verification.twosided import left_out, verify
from lambdaslim.verification.values import Checks, Failure, Verification
from lambdaslim.verification.verifier import Verifier

__all__ = ["Checks", "Failure", "Verification", "Verifier", "left_out", "verify"]
