"""What is said of NaN and Inf that the float model itself gives."""

from __future__ import annotations

from handlens.report import NonFinite, Related, op_name


def told(found: NonFinite) -> tuple[str, str, tuple[Related, ...]]:
    """The message, the cause, and the other place that belongs to it."""
    value, some = found.value, f"{found.count} of {found.values} values"
    if not found.op:
        cause = f"{some} {_are(found)}"
        return f"{found.held_by} of {found.batch} itself holds {value}", cause, ()
    message = f"{op_name(found.op)} gives {value} in the float model itself"
    related: tuple[Related, ...] = ()
    if found.held_by:
        cause = f"{found.held_by} holds {value}: {some} {_are(found)}"
    elif found.infinity:
        cause = (
            f"{some} on {found.batch} {_are(found)}, made of infinities that {found.infinity} gives"
        )
        related = (Related(f"{found.infinity} gives infinities", found.infinity_span),)
    else:
        cause = f"what it reads is finite, and {some} on {found.batch} {_are(found)}"
    if found.nan:
        message += f", and {found.nan} makes NaN of it"
        related = (Related(f"{found.nan} makes NaN of it", found.nan_span),)
    return message + (f" · {found.module}" if found.module else ""), cause, related


def _are(found: NonFinite) -> str:
    return f"{'is' if found.count == 1 else 'are'} {found.value}"
