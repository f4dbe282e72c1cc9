"""Latency: how long one text takes, from its characters to its logits, at batch 1 on one thread, form beside form."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contract.progress import Progress, silent
from distill.reading.words import split_words
from distill.shipping.forms import Form, Heard

TEXTS = 300  # timed, of each form
BLOCK = 25  # texts a form is asked about before the next has its turn: a slow moment of the machine hits all
WARM_UPS = 5  # before each block: the form before has filled the caches


@dataclass(frozen=True)
class Latency:
    """Milliseconds a text, tokenising included: the middle one, and what 99 of 100 stay below."""

    p50: float
    p99: float


def time_side_by_side(
    forms: Mapping[str, Form],
    heard: Sequence[Heard],
    *,
    texts: int = TEXTS,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress = silent,
) -> dict[str, Latency]:
    """The latency of each form on the same texts, the first ones (again, where they are few), in turns.

    `clock` tells seconds: on a busy machine the wall's holds up a slow form more often than a quick one, and flatters
    the quick one; `time.thread_time` does not.
    """
    asked = [heard[number % len(heard)] for number in range(texts)]
    taken: dict[str, list[float]] = {name: [] for name in forms}
    for start in range(0, texts, BLOCK):
        progress("latency", start, texts)
        block = asked[start : start + BLOCK]
        for name, form in forms.items():
            for each in block[:WARM_UPS]:
                form.speak([each])
            taken[name] += [_ms(form, each, clock) for each in block]
    progress("latency", texts, texts)
    return {name: Latency(*np.percentile(times, [50, 99]).round(4).tolist()) for name, times in taken.items()}


def _ms(form: Form, heard: Heard, clock: Callable[[], float]) -> float:
    began = clock()
    if heard.words is not None:  # who asks does not have them yet
        heard = Heard(heard.text, heard.pair, split_words(heard.text))
    form.speak([heard])
    return 1000 * (clock() - began)
