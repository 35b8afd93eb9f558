"""The exception for problems that a user can fix, and the sentences that describe them."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}
# safetensors raises its own exception and gives the system's error number only in the message.
_ERROR_NUMBER = re.compile(r"os error (\d+)")
# PyTorch's messages for errors that have no class of their own.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


class InputError(ValueError):
    """Report bad input in one sentence: what was expected, what was given, what to do.

    The command line prints the sentence without a traceback and exits with code 2; the app shows it unchanged.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the machine or its GPU ran out of memory, without importing PyTorch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def resource_error(error: Exception) -> InputError | None:
    """Return an InputError for a lack of memory, disk space or permission; None for any other error."""
    if is_out_of_memory(error):
        return InputError(
            "There is not enough memory for this: use fewer training examples, smaller images or fewer measures."
        )
    found = _ERROR_NUMBER.search(str(error))
    file = "A file"
    if isinstance(error, OSError):
        number = error.errno
        file = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else file
    else:
        number = int(found.group(1)) if found else None
    if number in _DISK_FULL:
        return InputError(
            f"There is no room to write another file ({os.strerror(number)}): free some disk space, then run the same "
            "command again to resume."
        )
    if number in _NO_PERMISSION:
        return InputError(
            f"{file} cannot be used ({os.strerror(number)}): get permission for it, or choose another location."
        )
    return None


def first_sentence(error: BaseException) -> str:
    """Return the first sentence of an error's message, without a period, to stand within another sentence."""
    return str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(". ") or type(error).__name__


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Return the field of the first problem in a record (``""`` for the record itself) and what is wrong with it."""
    first = error.errors()[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")


def validation_message(error: ValidationError) -> str:
    """Describe the first problem in a sentence that includes the given value."""
    field, problem = first_problem(error)
    return f"{field}: {problem}, but {str(error.errors()[0]['input'])[:200]!r} was given."
