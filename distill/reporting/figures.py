"""Numbers as people read them, in the pages and in the tables of the terminal alike."""

from __future__ import annotations

MISSING = "–"
_SIZES = ((1e9, "B"), (1e6, "M"), (1e3, "k"))


def percent(share: float | None) -> str:
    """0.8071 -> '80.7 %'; a dash where there is nothing."""
    return MISSING if share is None else f"{100 * share:.1f} %"


def points(difference: float | None) -> str:
    """A difference of two shares in percentage points: 0.098 -> '+9.8'."""
    if difference is None:
        return MISSING
    rounded = round(100 * difference, 1)
    return f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}") if rounded else "0.0"


def signed(number: float | None) -> str:
    """1.234 -> '+1.2'; a dash where there is nothing."""
    return MISSING if number is None else f"{number:+.1f}".replace("-", "\N{MINUS SIGN}")


def thousandths(number: float | None) -> str:
    """0.80712 -> '0.807'; a dash where there is nothing."""
    return MISSING if number is None else f"{number:.3f}"


def hundredths(share: float | None) -> str:
    """A share below a heading that says per cent: 0.8071 -> '80.7'."""
    return MISSING if share is None else f"{100 * share:.1f}"


def count(number: float | None) -> str:
    """31020 -> '31,020'."""
    return MISSING if number is None else f"{number:,.0f}"


def size(parameters: int) -> str:
    """22713216 -> '22.7 M'."""
    for unit, letter in _SIZES:
        if parameters >= unit * 0.9995:  # what rounds to 1,000 of a unit is 1 of the next
            digits = f"{parameters / unit:.3g}" if parameters < unit * 999.5 else f"{parameters / unit:,.0f}"
            return f"{digits} {letter}"
    return str(parameters)


def factor(ratio: float) -> str:
    """How many times: 3.21 -> '3.2×', 52.4 -> '52×'."""
    return f"{ratio:.1f}×" if ratio < 9.95 else f"{ratio:,.0f}×"


def milliseconds(value: float) -> str:
    """0.4213 -> '0.42 ms'; three significant digits at most."""
    return f"{value:.3g} ms" if value < 100 else f"{value:,.0f} ms"


def duration(seconds: float) -> str:
    """75.2 -> '1 min 15 s'."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def listed(words: list[str]) -> str:
    """['a', 'b', 'c'] -> 'a, b and c'."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
