"""A pytest plugin: an example that fails is not made simpler, which takes longer than to find it."""


def pytest_configure() -> None:
    from hypothesis import Phase, settings  # noqa: PLC0415 - pytest wants to import it first

    settings.register_profile("no shrinking", phases=set(Phase) - {Phase.shrink, Phase.explain})
    settings.load_profile("no shrinking")
