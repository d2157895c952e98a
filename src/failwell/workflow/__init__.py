"""A whole recovery from one configuration: a mapping or a TOML file, checked key by key."""

from __future__ import annotations

from failwell.workflow.keys import BackoffStrategy, RecoveryStrategy
from failwell.workflow.layers import AttemptsExhausted, saved_state
from failwell.workflow.workflow import Health, Workflow

__all__ = ["AttemptsExhausted", "BackoffStrategy", "Health", "RecoveryStrategy", "Workflow", "saved_state"]
