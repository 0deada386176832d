"""The subcommands, one module each: ``add_parser`` declares it, and a function runs it.

Every start makes all parsers, so these modules import heavy libraries inside their functions.
"""
