"""Latency: forms are timed in turns on the same texts, as they are asked: one at a time, words still to be found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distill.reading.words import split_words
from distill.shipping.forms import Heard, Spoken
from distill.shipping.latency import BLOCK, WARM_UPS, time_side_by_side


class Busy:
    """A form that counts for a while, and writes into a diary when it was asked what."""

    def __init__(self, name: str, diary: list[tuple[str, Heard]], work: int = 0) -> None:
        self._name, self._diary, self._work = name, diary, work

    def speak(self, heard: Sequence[Heard]) -> Spoken:
        self._diary += [(self._name, each) for each in heard]
        assert len(heard) == 1
        sum(range(self._work))
        return Spoken(np.zeros((1, 2), np.float32), None)


def test_all_forms_are_asked_about_the_same_texts_in_turns() -> None:
    diary: list[tuple[str, Heard]] = []
    heard = [Heard(f"text {number}") for number in range(7)]
    time_side_by_side({name: Busy(name, diary) for name in "ab"}, heard, texts=2 * BLOCK)
    turn = [(name, WARM_UPS + BLOCK) for name in "abab"]
    asked = [each for name, _ in turn for each in [name] * (WARM_UPS + BLOCK)]
    assert [name for name, _ in diary] == asked
    texts = {name: [each.text for who, each in diary if who == name] for name in "ab"}
    assert texts["a"] == texts["b"]
    assert texts["a"][WARM_UPS : WARM_UPS + 8] == [f"text {number % 7}" for number in range(8)], "few are asked again"


def test_the_slower_one_is_slower_and_99_of_100_are_below_p99() -> None:
    slow, fast = Busy("slow", [], 200_000), Busy("fast", [], 2_000)
    found = time_side_by_side({"slow": slow, "fast": fast}, [Heard("x")], texts=50)
    assert found["slow"].p50 > 5 * found["fast"].p50 > 0
    assert all(each.p50 <= each.p99 for each in found.values())


def test_finding_the_words_is_part_of_the_time() -> None:
    """Of a task's rows the words are known; of a text that somebody types they are not."""
    diary: list[tuple[str, Heard]] = []
    time_side_by_side({"a": Busy("a", diary)}, [Heard("it's on", None, [(0, 2), (2, 4), (5, 7)])], texts=1)
    assert diary[-1][1].words == split_words("it's on")
