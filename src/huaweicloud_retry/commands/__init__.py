"""The subcommands of `hwc-retry`, each a module with `configure(parser)` and `run(options)`.

`run` imports what only it needs, so that `--help` and completion stay fast.
"""
