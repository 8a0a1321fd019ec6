"""Learning a policy: utilities, optimisation, decision logs, off-policy estimates, bandits."""
