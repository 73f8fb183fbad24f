"""How patient the tests of the desk are. No claim about speed is made here: that is what benchmarks are for.

`QD_TEST_TIME_SCALE` (1 when not set, never less) multiplies together what is shortened for drills (leases, receive
window, how fresh a reading of the kill switch must be) and how long a condition is waited for.
A wait that ends when its condition holds costs nothing on a quick machine, so all are long.
"""

import os

SCALE = max(float(os.environ.get("QD_TEST_TIME_SCALE", "1")), 1.0)
LONG_S = 120.0 * SCALE
