"""What holds for all tests."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["failwell.testing.plugin"]

# How long an example takes in real time says nothing about a busy machine.
settings.register_profile("virtual time", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("virtual time")
