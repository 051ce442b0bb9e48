"""How an app turns real values into what a file stores, and back, as text."""


def stored(dtype: str, scale: float | None, zero_point: int | None) -> str:
    """The stored value of a real one: ``round(real / 0.0625) - 128, clamped to int8``; "" if the file stores reals."""
    if not scale:
        return ""
    return f"round(real / {scale:.9g}){_shift(zero_point or 0)}, clamped to {dtype.lower()}"


def real(dtype: str, scale: float | None, zero_point: int | None) -> str:
    """The real value of a stored one, such as ``(int8 + 128) * 0.11``; "" if the file stores reals."""
    if not scale:
        return ""
    name = f"({dtype.lower()}{_shift(-zero_point)})" if zero_point else dtype.lower()
    return f"{name} * {scale:.9g}"


def _shift(number: int) -> str:
    return f" {'-' if number < 0 else '+'} {abs(number)}" if number else ""
