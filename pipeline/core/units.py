"""Format numbers as text. Every output uses these functions, so a number looks the same on the terminal and in pages.

Fractions are 0..1, sizes are bytes, times are seconds (milliseconds where the name says so). None becomes a dash.
"""

import math

DASH = "–"  # stands for a missing value


def size(count: int | None) -> str:
    """Format a number of bytes in B, KiB, MiB or GiB."""
    if count is None:
        return DASH
    if count < 1024:
        return f"{count} B"
    kib = count / 1024
    if round(kib, 1) < 1024:
        return f"{kib:.1f} KiB"
    mib = kib / 1024
    return f"{mib:.2f} MiB" if round(mib, 2) < 1024 else f"{mib / 1024:.2f} GiB"


def percent(fraction: float | None, digits: int = 1) -> str:
    """Format a fraction as a percentage: 0.983 as ``98.3 %``."""
    return DASH if fraction is None else f"{points(fraction, digits, sign=False)} %"


def points(fraction: float | None, digits: int = 2, sign: bool = True) -> str:
    """Format a difference of two fractions in percentage points: 0.0028 as ``+0.28``, or ``0.28`` if not `sign`."""
    if fraction is None:
        return DASH
    text = f"{fraction * 100:{'+' if sign else ''}.{digits}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"


def ms(milliseconds: float | None) -> str:
    """Format milliseconds with three significant digits, and at most four decimals."""
    if milliseconds is None:
        return DASH
    digits = max(0, 2 - math.floor(math.log10(milliseconds))) if milliseconds > 0 else 0
    return f"{milliseconds:.{min(digits, 4)}f} ms"


def seconds(duration: float | None) -> str:
    """Format seconds as ``0.4 s``, ``12 s``, ``3 min 05 s`` or ``1 h 02 min``."""
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
    """Format a count with k or M: 12,501,632 as ``12.502 M``, 264,192 as ``264.2 k``; in full below 10,000."""
    if number is None:
        return DASH
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1e3:.1f} k" if round(number, -2) < 1_000_000 else f"{number / 1e6:.3f} M"


def whole(number: int | None) -> str:
    """Format a count in full: ``12,501,632``."""
    return DASH if number is None else f"{number:,}".replace("-", "−")


def decibel(value: float | None) -> str:
    """Format a signal-to-noise ratio in dB; None means that there is no error at all."""
    return "no error" if value is None else f"{value:.1f} dB"


def number(value: float | None, digits: int = 4) -> str:
    """Format a number with `digits` significant digits, and with all digits before the point below 1e9."""
    text = DASH if value is None else f"{value:.{digits}g}"
    if value is not None and "e+" in text and abs(value) < 1e9:  # 30,000 rather than 3e+04
        text = f"{value:,.0f}"
    return f"−{text[1:]}" if text.startswith("-") else text


def chance(p: float | None) -> str:
    """Format a p-value: 0.0312 as ``0.031``, values below 0.001 as ``< 0.001``."""
    return "< 0.001" if p is not None and p < 0.001 else number(p, 2)


def change(value: float | None, digits: int = 3) -> str:
    """Format a difference of two numbers with its sign and `digits` significant digits: -0.0213 as ``−0.0213``."""
    return DASH if value is None else f"{value:+.{digits}g}".replace("-", "−")


def measure(value: float | str | None, unit: str) -> str:
    """Format the value or limit of a check in its unit: fraction, points, bytes, ms, count or text.

    Text is returned unchanged; for any other unit the value is formatted as a plain number.
    """
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
