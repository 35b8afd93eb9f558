"""The one exception that means: the user can mend this."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}
_NUMBER = re.compile(r"os error (\d+)")  # as the writer of safetensors says it, which raises an error of its own
# As PyTorch says it where the class of its error does not.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


class InputError(ValueError):
    """Bad input, in one sentence: what was expected, what was given, what to do.

    The command line prints it without a traceback and exits with code 2; the app shows it as it is.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the machine or of its GPU ran out; PyTorch is not loaded to tell."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def resource_error(error: Exception) -> InputError | None:
    """What the machine refused, memory, a full disk or a missing permission, in a sentence; None for other errors."""
    if is_out_of_memory(error):
        return InputError(
            "There is not enough memory for this: take fewer training examples, smaller images or fewer measures."
        )
    told = _NUMBER.search(str(error))
    where = "A file"
    if isinstance(error, OSError):
        number = error.errno
        where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else where
    else:
        number = int(told.group(1)) if told else None
    if number in _NO_ROOM:
        return InputError(
            f"There is no room for another file ({os.strerror(number)}): free some space, and give the same command "
            "again to go on."
        )
    if number in _NO_PERMISSION:
        return InputError(
            f"{where} could not be used ({os.strerror(number)}): get the right to it, or choose another place."
        )
    return None


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Where the first thing lies that was wrong in a record, and why it is; the record itself is ``""``."""
    first = error.errors()[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")


def validation_message(error: ValidationError) -> str:
    """The same as a sentence that says what was given."""
    where, why = first_problem(error)
    return f"{where}: {why}, but {str(error.errors()[0]['input'])[:200]!r} was given."
