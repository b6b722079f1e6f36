"""What is said of NaN and Inf that the float model itself gives."""

from __future__ import annotations

from handlens.report import NonFinite, Related, op_name


def told(found: NonFinite) -> tuple[str, str, tuple[Related, ...]]:
    """The message, the cause, and the other place that belongs to it."""
    value, numbers = found.value, f"{found.count} of {found.values} values on {found.batch}"
    if not found.op:
        return f"{found.held_by} of {found.batch} itself holds {value}", f"it is {numbers}", ()
    name = op_name(found.op)
    message = f"{name} gives {value} in the float model itself"
    related: tuple[Related, ...] = ()
    if found.held_by:
        cause = f"{found.held_by} holds {value}, and it gives {numbers}"
    elif found.infinity:
        cause = f"it makes {numbers} NaN, of the infinities that {found.infinity} gives"
        related = (Related(f"{found.infinity} gives them", found.infinity_span),)
    else:
        cause = f"what it reads is finite, and {numbers} are {value}"
    if found.nan:
        message += f", and {found.nan} makes NaN of it"
        related = (Related(f"{found.nan} makes NaN of it", found.nan_span),)
    return message + (f" · {found.module}" if found.module else ""), cause, related
