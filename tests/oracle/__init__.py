"""The oracle: the engine's rules once more, as slowly and as plainly as SimPy allows.

`docs/background/engine-rules.md` says what a pool does. The compiled data plane does it fast; this package
does it so that it can be checked by reading. The two share no code, and a parity test holds them together
request by request. Every rule is cited by its number where it is obeyed. One module is one idea; read them in
this order:

    clock.py       what comes first when two things happen at one instant          T1
    requests.py    a request, and a sequence: a request inside a replica           Words, A1
    blocks.py      KV blocks, their free queue, the prefix cache                   K
    batches.py     what a batch holds, and what the step-time model sees of it     C7
    composer.py    waiting, running, and how the next batch is composed            C, K, A1, A2
    replica.py     a replica as a SimPy process: START, END, START ...             S, F, A3
    balancers.py   who gets the next request                                       B
    world.py       the door, timers, controls; every request a SimPy process       T2, D, P, F
    results.py     what a run leaves behind                                        A
"""

from tests.oracle.results import OracleResult, ReplicaResult
from tests.oracle.world import Stalled, run_oracle

__all__ = ["OracleResult", "ReplicaResult", "Stalled", "run_oracle"]
