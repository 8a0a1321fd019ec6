"""The production data plane against queueing theory.

What makes a replica a textbook queue (synchronous scheduling, no prefix cache, blocks to spare):

- *One step a service* (`SINGLE`): one slot, a step that takes 1/2000 s a prompt token, one output token. The
  replica is an exact M/G/1 queue; only its service times are rounded, to 1/2000 of their mean.
- *One step a token* (`constant_step`): `c` slots, a step that takes d seconds whatever the batch,
  n = round(S / d) output tokens. M/G/c, but a request that arrives inside a step waits for the next one. By
  induction over the requests, each of them starts 0 to d seconds after its start in the continuous queue with
  the same services. All the intervals [expected + low, expected + high] below follow from that bound.
- *Shared steps* (`shared_step`): a step takes d seconds a sequence: processor sharing with a quantum of d.

Method: RUNS independent runs from fixed seeds; the mean over the requests of a run (after a warm-up),
corrected for the load that the run happened to get (`sample`), is one sample; |z| < Z. Every check names
`rivals`: values that a wrong discipline or an off-by-one would give. A rival must be further from the
expected value than twice the margin of the z-test, so the check would have refuted it.

The mean service time is 1 s throughout. Not tested, because no deployment here works so: preemptive-resume
priorities (running sequences are only preempted for KV blocks), tandem queues (one pool has one stage).
"""
