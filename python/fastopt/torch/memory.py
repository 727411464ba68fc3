"""Whether parameters share memory, where some of them have gaps in which others may lie."""

from __future__ import annotations

import torch

__all__ = ["check_apart"]


def check_apart(entries: list[tuple[str, torch.Tensor]], with_gaps: set[int]) -> None:
    """ValueError if an element of a parameter with gaps is another's too; `with_gaps` are their positions among the entries.

    The extension compares the rest by where arrays begin and end.
    """
    spans = sorted((*span_of(tensor), i) for i, (_, tensor) in enumerate(entries) if tensor.numel())
    together: list[int] = []
    furthest = 0
    for begin, end, i in spans:
        if begin >= furthest:
            check_elements(entries, together, with_gaps)
            together = []
        together.append(i)
        furthest = max(furthest, end)
    check_elements(entries, together, with_gaps)


def span_of(tensor: torch.Tensor) -> tuple[int, int]:
    """From where to where its elements lie, in bytes."""
    reach = sum((length - 1) * step for length, step in zip(tensor.shape, tensor.stride(), strict=True)) + 1
    return tensor.data_ptr(), tensor.data_ptr() + reach * tensor.element_size()


def check_elements(entries: list[tuple[str, torch.Tensor]], together: list[int], with_gaps: set[int]) -> None:
    """`check_apart` of parameters whose spans meet: each marks its bytes."""
    if len(together) < 2 or with_gaps.isdisjoint(together):
        return
    spans = [span_of(entries[i][1]) for i in together]
    first, last = min(begin for begin, _ in spans), max(end for _, end in spans)
    marks = torch.zeros(last - first, dtype=torch.bool, device="cpu")
    for done, (i, (begin, _)) in enumerate(zip(together, spans, strict=True)):
        mine = bytes_of(marks, entries[i][1], begin - first)
        if mine.any():
            marks.zero_()
            mine.fill_(True)
            other = next(k for k in together[:done] if bytes_of(marks, entries[k][1], span_of(entries[k][1])[0] - first).any())
            one, two = sorted((i, other))
            raise ValueError(f"{entries[two][0]}: got memory that overlaps {entries[one][0]}, expected separate arrays")
        mine.fill_(True)


def bytes_of(marks: torch.Tensor, tensor: torch.Tensor, offset: int) -> torch.Tensor:
    """The marks of a tensor's bytes."""
    size = tensor.element_size()
    return marks.as_strided((*tensor.shape, size), (*(step * size for step in tensor.stride()), 1), offset)
