"""What queueing theory says, computed."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np


def erlang_b(load: float, servers: int) -> float:
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked


def erlang_c(load: float, servers: int) -> float:
    blocked = erlang_b(load, servers)
    return blocked / (1 - load / servers * (1 - blocked))


def pollaczek_khinchine(rho: float, squared_cv: float) -> float:
    return rho * (1 + squared_cv) / (2 * (1 - rho))


def cobham(loads: list[float], squared_cv: float) -> list[float]:
    """Mean waits of non-preemptive priority classes."""
    residual = sum(loads) * (1 + squared_cv) / 2
    below = [sum(loads[:k]) for k in range(len(loads) + 1)]
    return [residual / ((1 - a) * (1 - b)) for a, b in pairwise(below)]


def erlang_wait(rate: float, stages: int) -> tuple[float, float]:
    """P(wait) and mean wait of E_k/M/1: the root x of x = A*(1 - x)."""
    root = 0.5
    for _ in range(10_000):
        root = (stages * rate / (stages * rate + 1 - root)) ** stages
    return root, root / (1 - root)


def md1_wait_at_most(t: float, rho: float) -> float:
    terms = [(-rho * (t - k)) ** k / math.factorial(k) * math.exp(rho * (t - k)) for k in range(math.floor(t) + 1)]
    return (1 - rho) * sum(terms)


def erlang_a(rate: float, servers: int, leaving: float, *, in_service: bool = False) -> float:
    """P(abandon) when everybody who waits leaves at this rate (`in_service`: and those in service, too)."""
    weight, total, impatient = 1.0, 1.0, 0.0
    for n in range(1, servers + 2000):
        losing = n if in_service else max(0, n - servers)
        weight *= rate / (min(n, servers) + leaving * losing)
        total += weight
        impatient += weight * losing
    return leaving * impatient / total / rate


def mean_field(rate: float) -> float:
    """Mean sojourn under power of two choices with infinitely many replicas."""
    return sum(rate ** (2**i - 2) for i in range(1, 20))


def shortest_of_two(rate: float, room: int = 50) -> float:
    """Mean sojourn when everybody joins the shorter of two M/M/1 queues; `rate` is the load of each."""
    states = [(i, j) for j in range(room) for i in range(j + 1)]
    number = {state: k for k, state in enumerate(states)}
    flow = np.zeros((len(states), len(states)))

    def move(state: tuple[int, int], i: int, j: int, speed: float) -> None:
        if max(i, j) < room:
            flow[number[state], number[min(i, j), max(i, j)]] += speed
            flow[number[state], number[state]] -= speed

    for i, j in states:
        move((i, j), i + 1, j, 2 * rate)
        if i > 0:
            move((i, j), i - 1, j, 1.0)
        if j > 0:
            move((i, j), i, j - 1, 1.0)
    balance = flow.T.copy()
    balance[0] = 1.0
    share = np.linalg.solve(balance, np.eye(len(states))[0])
    return float(share @ [i + j for i, j in states]) / (2 * rate)


def closed_sojourn(clients: int, think: float) -> float:
    """Mean value analysis of one server and `clients` that think."""
    sojourn, queue = 0.0, 0.0
    for k in range(1, clients + 1):
        sojourn = 1 + queue
        queue = k * sojourn / (think + sojourn)
    return sojourn
