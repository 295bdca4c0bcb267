"""The subcommands of `hwc-retry`, each a module with `configure(parser)` and `run(options)`.

What only a command that runs needs is imported when it runs, so that `--help` and completion do not wait for it.
"""
