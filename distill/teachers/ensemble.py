"""The ensemble: what several teachers say of the same texts, made one.

Their probabilities are averaged, which keeps their doubt; an average of logits would follow whoever speaks loudest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp

from distill.models.logits import Logits

Numbers = npt.NDArray[np.float32]


def averaged(said: Sequence[Logits], *, amounts: bool) -> Logits:
    """What they say together: the logarithms of the mean probabilities, or of a regression the mean amounts.

    A word that some of them saw no token of is the others' to tell. One teacher's logits stay what they are.
    """
    if len(said) == 1:
        return said[0]
    sentences = [each.sentence for each in said if each.sentence is not None]
    slots = [each.slots for each in said if each.slots is not None]
    return Logits(
        None if not sentences else _mean_amounts(sentences) if amounts else _mean_probabilities(sentences),
        _mean_probabilities(slots) if slots else None,
    )


def _mean_amounts(said: Sequence[Numbers]) -> Numbers:
    mean: npt.NDArray[np.float64] = np.mean(said, axis=0, dtype=np.float64)
    return mean.astype(np.float32)


def _mean_probabilities(said: Sequence[Numbers]) -> Numbers:
    """(n, C) logits each -> (n, C), the logarithm of the mean; a row of NaN is of one who has nothing to say."""
    known = np.array([~np.isnan(each).any(axis=1) for each in said])  # (members, n)
    shares = np.array([log_softmax(each.astype(np.float64), axis=1) for each in said])
    counted = np.where(known[..., None], shares, -np.inf)
    speakers = known.sum(0)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = logsumexp(counted, axis=0) - np.log(speakers)
    return np.where(speakers > 0, mean, np.nan).astype(np.float32)
