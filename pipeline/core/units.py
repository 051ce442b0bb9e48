"""The only formatter of numbers: a figure looks the same on the terminal, in Markdown and in HTML.

Fractions are 0..1, sizes bytes, times seconds (or milliseconds where the name says so). None is a dash.
"""

import math

DASH = "–"  # a value that is not there


def size(count: int | None) -> str:
    """Bytes as B, KiB or MiB."""
    if count is None:
        return DASH
    if count < 1024:
        return f"{count} B"
    kib = count / 1024
    return f"{kib:.1f} KiB" if round(kib, 1) < 1024 else f"{kib / 1024:.2f} MiB"


def percent(fraction: float | None, digits: int = 1) -> str:
    """0.983 as ``98.3 %``."""
    return DASH if fraction is None else f"{points(fraction, digits, sign=False)} %"


def points(fraction: float | None, digits: int = 2, sign: bool = True) -> str:
    """A difference of two fractions in percentage points: 0.0028 as ``+0.28``, or ``0.28`` without its plus."""
    if fraction is None:
        return DASH
    text = f"{fraction * 100:{'+' if sign else ''}.{digits}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"


def ms(milliseconds: float | None) -> str:
    """Milliseconds with three significant digits."""
    if milliseconds is None:
        return DASH
    digits = max(0, 2 - math.floor(math.log10(milliseconds))) if milliseconds > 0 else 0
    return f"{milliseconds:.{min(digits, 4)}f} ms"


def seconds(duration: float | None) -> str:
    """A duration as ``0.4 s``, ``12 s``, ``3 min 05 s`` or ``1 h 02 min``."""
    if duration is None:
        return DASH
    if duration < 10:
        return f"{duration:.1f} s"
    whole = round(duration)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def count(number: int | None) -> str:
    """A count with k or M: 12,501,632 as ``12.502 M``, 264,192 as ``264.2 k``."""
    if number is None:
        return DASH
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1e3:.1f} k" if round(number, -2) < 1_000_000 else f"{number / 1e6:.3f} M"


def whole(number: int | None) -> str:
    """A count to its last digit: ``12,501,632``."""
    return DASH if number is None else f"{number:,}".replace("-", "−")


def decibel(value: float | None) -> str:
    """A ratio in dB; without one there was no error at all."""
    return "no error" if value is None else f"{value:.1f} dB"


def number(value: float | None, digits: int = 4) -> str:
    """A plain figure with that many significant digits, and all before the point."""
    text = DASH if value is None else f"{value:.{digits}g}"
    if value is not None and "e+" in text and abs(value) < 1e9:  # 30,000 rather than 3e+04
        text = f"{value:,.0f}"
    return f"−{text[1:]}" if text.startswith("-") else text


def chance(p: float | None) -> str:
    """A p-value: 0.0312 as ``0.031``, the smallest as ``< 0.001``."""
    return "< 0.001" if p is not None and p < 0.001 else number(p, 2)


def change(value: float | None, digits: int = 3) -> str:
    """A difference of two plain figures, signed, with that many significant digits: -0.0213 as ``−0.0213``."""
    return DASH if value is None else f"{value:+.{digits}g}".replace("-", "−")


def measure(value: float | str | None, unit: str) -> str:
    """A check's value or limit in its unit: fraction, points, bytes, ms, count or text. Text stays as it is."""
    if value is None or isinstance(value, str):
        return DASH if value is None else value
    whole = round(value) if unit in ("bytes", "count") else 0
    forms = {
        "fraction": lambda: percent(value),
        "points": lambda: f"{points(value, sign=False)} points",
        "bytes": lambda: size(whole),
        "ms": lambda: ms(value),
        "count": lambda: count(whole),
    }
    return forms.get(unit, lambda: number(value))()
