"""`spike` as its page says it (`fieldgate filters spike`), and from nothing else: no other program has this filter.

It computes with decimals as they are written, looks at the whole series at once and keeps no state.
"""

from decimal import Decimal


def are_within(one, other, by):
    return abs(Decimal(repr(one)) - Decimal(repr(other))) <= Decimal(repr(by))


def stays(since, by, count):
    """Whether a jump has stayed: the last `count` values `since` one was let through are there, each near the one before."""
    last = since[-count:]
    return len(last) == count and all(are_within(before, value, by) for before, value in zip(last, last[1:]))


def spike(series, by, count):
    found = []
    for index, value in enumerate(series):
        missing = [place for place in range(index) if series[place] is None]
        first = missing[-1] + 1 if missing else 0
        let_through = [place for place in range(first, index) if found[place] is not None]
        if value is None:
            found.append(None)
        elif not let_through or are_within(value, series[let_through[-1]], by):
            found.append(value)
        else:
            found.append(value if stays(series[let_through[-1] + 1 : index + 1], by, count) else None)
    return found
