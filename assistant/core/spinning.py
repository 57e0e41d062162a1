"""How long threads that wait for one another spin before they give the core up (OpenMP, whose runtime reads it once, when it is loaded)."""

import sys
from collections.abc import Mapping


def shortly(environment: Mapping[str, str]) -> dict[str, str]:
    """What to set so that they spin long enough for the next product to come, and too short to be in others' way.

    Beside other work libgomp's default made answers 25 times slower; 5,000 costs 3% on an idle machine, 100 costs 17% (docs/LOG.md).
    Once its teams hold more threads together than there are cores, as those of two servers do, libgomp spins 100 times at most, 1,000
    under the policy ``active`` (its manual, GOMP_SPINCOUNT): a token took 31 ms instead of 10 (docs/LOG.md). Other runtimes know no
    bound under that policy. What the environment says already stays.
    """
    wanted = {"GOMP_SPINCOUNT": "5000", **({"OMP_WAIT_POLICY": "ACTIVE"} if sys.platform == "linux" else {})}
    return {name: value for name, value in wanted.items() if name not in environment}
