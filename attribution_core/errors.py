"""The one exception that means: the user can mend this."""


class InputError(ValueError):
    """Bad input, in one sentence: what was expected, what was given, what to do.

    The command line prints it without a traceback and exits with code 2; the app shows it as it is.
    """
