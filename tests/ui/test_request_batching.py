"""Requests that wait for the same model share a call."""

import dataclasses

from diffusionad import DiffusionADOutput
from diffusionad.ui.serving.request_batching import PER_PICTURE


def test_requests_that_share_a_call_get_the_marks_of_their_own_picture():
    lists = {field.name for field in dataclasses.fields(DiffusionADOutput)}
    assert lists - set(PER_PICTURE) == {"threshold", "pixel_threshold", "timings"}
