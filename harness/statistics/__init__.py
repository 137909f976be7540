"""Intervals and tests over prompt templates: the resampling unit is the template, because prompts of one
template are not independent; families are fixed and count equally. Nothing here imports numpy until it is
called.
"""

from harness.statistics.summary import summarize

__all__ = ["summarize"]
