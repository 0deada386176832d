"""The subcommands, one module each: ``add_parser`` declares it, and a function runs it.

A parser is made at every start, so no module here imports at its top anything that takes time.
"""
