from tests.kernel.world import world

__all__ = ["world"]
