"""Export of cleaned datasets: the entry point is ``export``, and each form has its writer in the module of its name.

Every writer is a function ``write(examples, path)``: it writes
:class:`~attribution_core.export.examples.CleanedExamples` to a new file and reports its progress as "export".
"""
