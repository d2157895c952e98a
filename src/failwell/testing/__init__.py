"""What tests of recovery need: operations that fail as told, virtual time, an off switch, and faults for real ones.

```python
from failwell import Retry, backoff, virtual
from failwell.testing import failing

load = failing(ConnectionError, ConnectionError, "ok")
with virtual.clock():
    print(Retry(3, backoff.Fixed(1)).call(load, "cart"))
    #> ok
print(load.times, load.calls[0].args)
#> [0.0, 1.0, 2.0] ('cart',)
```
"""

from failwell.switch import disabled, enabled
from failwell.testing.chaos import Fault, fault
from failwell.testing.scripted import HANG, AsyncScripted, Called, Scripted, async_failing, failing, slow

__all__ = [
    "HANG",
    "AsyncScripted",
    "Called",
    "Fault",
    "Scripted",
    "async_failing",
    "disabled",
    "enabled",
    "failing",
    "fault",
    "slow",
]
