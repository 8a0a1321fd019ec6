"""The oracle: the rules of the engine and of the fleet once more, as slowly and as plainly as SimPy allows.

`docs/background/engine-rules.md` says what a pool does, `docs/background/fleet-rules.md` what devices, radios and
policies do. The compiled data plane does it fast; this package does it so that it can be checked by reading. The two
share no code, and parity tests hold them together request by request. Every rule is cited by its number where it is
obeyed. One module is one idea; read them in this order:

    clock.py       what comes first when two things happen at one instant          T1, T3
    requests.py    a request, and a sequence: a request inside a replica           Words, A1
    blocks.py      KV blocks, their free queue, the prefix cache                   K
    batches.py     what a batch holds, and what the step-time model sees of it     C7
    composer.py    waiting, running, and how the next batch is composed            C, K, A1, A2
    replica.py     a replica as a SimPy process: START, END, START ...             S, F, A3, X1
    balancers.py   who gets the next request                                       B
    pools.py       a pool: door, failures, telemetry, the bill                     D, F, X
    world.py       arrivals and timers; every request a SimPy process              T2, T4, P

and, with a fleet:

    links.py       how a device is connected, when its link is good                N1 to N4
    rows.py        one job at a time on a device or a hub; battery and heat        E, V
    radios.py      what a leg takes and costs on its way                           N4 to N7, V3
    figures.py     what may be known of an action; the numbers of phi              W4, W5
    deciding.py    actions, masks, the choice, whose policy                        W1 to W5, W7
    legs.py        who works on a request: near, hub, pool, cascade, hedge         G, W6, Q1, X4
    fleets.py      orders; a whole run                                             X

    results.py     what a run of one pool leaves behind                            A
"""

from tests.oracle.fleets import FleetResult, Order, run_fleet
from tests.oracle.results import OracleResult, ReplicaResult
from tests.oracle.world import Stalled, run_oracle

__all__ = ["FleetResult", "OracleResult", "Order", "ReplicaResult", "Stalled", "run_fleet", "run_oracle"]
