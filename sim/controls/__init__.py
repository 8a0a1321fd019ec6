"""Controls: what happens to the world while requests flow. Each is a SimPy process in a few lines.

    nearfar.simulate("pool.yaml", controls=[BrownOut(at_s=300.0, duration_s=60.0, factor=3.0)])

A control is a function of the world that yields events (`sim.world.Control`); those here are frozen records that can
be called so. A scenario names them in `controls:`; `specs` holds its records, `building` makes controls of them.
"""

from sim.controls.autoscaler import Autoscaler
from sim.controls.brown_out import BrownOut
from sim.controls.building import (
    check_controls,
    crowded,
    late_controls,
    pool_size,
    scenario_controls,
)
from sim.controls.churn import DeviceChurn
from sim.controls.effects import Effects
from sim.controls.failures import PoolOutage, ReplicaFailures
from sim.controls.price_change import PriceChange
from sim.controls.rollout import PolicyRollout
from sim.controls.weather import NetworkWeather, WeatherSpells

__all__ = [
    "Autoscaler",
    "BrownOut",
    "DeviceChurn",
    "Effects",
    "NetworkWeather",
    "PolicyRollout",
    "PoolOutage",
    "PriceChange",
    "ReplicaFailures",
    "WeatherSpells",
    "check_controls",
    "crowded",
    "late_controls",
    "pool_size",
    "scenario_controls",
]
