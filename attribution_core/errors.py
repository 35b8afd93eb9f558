"""The one exception that means: the user can mend this."""

import errno
import os
import re

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}
_NUMBER = re.compile(r"os error (\d+)")  # as the writer of safetensors says it, which raises an error of its own


class InputError(ValueError):
    """Bad input, in one sentence: what was expected, what was given, what to do.

    The command line prints it without a traceback and exits with code 2; the app shows it as it is.
    """


def of_the_machine(error: Exception) -> InputError | None:
    """What the machine refused, a full disk or a missing permission, in a sentence; None for any other error."""
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
