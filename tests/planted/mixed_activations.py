"""The app with a bug planted: a text is answered with the activations of whichever text was asked for before it."""

import runpy
from pathlib import Path

from analysis import pipeline

if not hasattr(pipeline, "asked_before"):
    right_captures = pipeline._captures

    def wrong_captures(session, tokens, *rest):
        before, pipeline.asked_before = pipeline.asked_before or tokens, tokens
        # As many tokens as the text has, so that every shape is right.
        return right_captures(session, (before * len(tokens))[: len(tokens)], *rest)

    pipeline.asked_before, pipeline._captures = (), wrong_captures

runpy.run_path(str(Path(__file__).parents[2] / "app.py"))
