"""Thermal physics of one refrigerated case: first order, exact in each step.

    C dT/dt = UA(door) (T_ambient - T) - Q_cooling + Q_heater

Divided by the closed case's UA everything is in kelvin: `cooling_k` is how far below ambient the running compressor
could hold the closed case, tau = C / UA how fast it warms. Within a step the inputs stand still and the solution is an
exponential towards its equilibrium, so the step's length does not matter for stability.

Numbers: a frozen case is kept near -20 °C, defrosts every 6-8 h and shows up to about -13 °C in its air meanwhile; a
chilled case near 2 °C defrosts by standing off. A running time of about 55 % is what a case is sized for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STEP_S = 10
"""Length of a step, seconds."""
_RECOVERED_S = 7200
"""Some time after which a case is in its thermostat's band again after a defrost began, seconds."""


@dataclass(frozen=True, slots=True)
class CaseModel:
    """tau_s: seconds in which a closed, unpowered case comes 63 % of the way to ambient. setpoint: Cel; the compressor
    starts at setpoint + band and stops at setpoint - band. cooling_k, heater_k: kelvin, see the module. door: how many
    times its closed UA a wide open door adds. defrost_end_c: air temperature (Cel) that ends a defrost, defrost_max_s
    its longest, drip_s the rest before cooling goes on. power_kw, heater_kw: electric."""

    setpoint: float
    band: float
    tau_s: float
    cooling_k: float
    heater_k: float
    door: float
    defrost_every_s: float
    defrost_first_s: float
    defrost_max_s: float
    defrost_end_c: float
    drip_s: float
    power_kw: float
    heater_kw: float


@dataclass(slots=True)
class CaseState:
    """Carried from step to step. temperature: Cel; times in seconds since the simulation's start."""

    temperature: float
    cooling: bool
    next_defrost: float
    defrost_until: float = -1.0
    drip_until: float = -1.0


@dataclass(frozen=True, slots=True)
class Inputs:
    """One value a step, all arrays of equal length. ambient: Cel. door: 0 shut to 1 wide open. capacity: share of the
    cooling left. motor: share of the compressor's electric power. stuck_heater: share of the heater that is on
    whatever the controller says."""

    ambient: np.ndarray
    door: np.ndarray
    capacity: np.ndarray
    motor: np.ndarray
    stuck_heater: np.ndarray

    @classmethod
    def quiet(cls, steps: int, ambient: float) -> Inputs:
        """A closed, sound case."""
        return cls(np.full(steps, ambient), np.zeros(steps), np.ones(steps), np.ones(steps), np.zeros(steps))


@dataclass(frozen=True, slots=True)
class Trace:
    """What the case did, one value a step. temperature: Cel at the step's end. cooling, defrost: booleans; defrost is
    the heater's own contact, so it is on too where the heater is stuck. power: kW."""

    temperature: np.ndarray
    cooling: np.ndarray
    defrost: np.ndarray
    power: np.ndarray


def case_model(
    asset_class: str, setpoint: float, has_door: bool, rng: np.random.Generator, spared: Sequence[float] = ()
) -> CaseModel:
    """A case of this class; no two are alike. spared: moments (seconds since the start) that shall find it in range,
    so that no defrost begins in the two hours before, where its times of day allow.

    Raises ValueError for a class that is no case.
    """
    duty = rng.uniform(0.52, 0.58)
    every = float(rng.choice([6, 8])) * 3600  # by the clock, the same times each day
    first = _first_defrost(every, spared, rng)
    if asset_class == "freezer":
        tau = rng.uniform(6.3, 7.7) * 3600
        gap = 21.0 - setpoint
        rise_per_s = rng.uniform(16, 20) / 3600
        return CaseModel(
            setpoint=setpoint,
            band=0.8,
            tau_s=tau,
            cooling_k=gap / duty,
            heater_k=rise_per_s * tau - gap,
            door=4.0,
            defrost_every_s=every,
            defrost_first_s=first,
            defrost_max_s=40 * 60,
            defrost_end_c=rng.uniform(-13.4, -13.1),
            drip_s=150,
            power_kw=rng.uniform(1.6, 2.2),
            heater_kw=rng.uniform(2.4, 3.2),
        )
    if asset_class == "cooler":
        return CaseModel(
            setpoint=setpoint,
            band=0.6,
            tau_s=rng.uniform(2.0, 2.5) * 3600,
            cooling_k=(21.0 - setpoint) / duty,
            heater_k=0.0,
            door=4.0 if has_door else 0.0,
            defrost_every_s=every,
            defrost_first_s=first,
            defrost_max_s=20 * 60,
            defrost_end_c=4.3,
            drip_s=0,
            power_kw=rng.uniform(1.0, 1.5),
            heater_kw=0.0,
        )
    raise ValueError(f"{asset_class}: no thermal model; there are freezer and cooler")


def _first_defrost(every: float, spared: Sequence[float], rng: np.random.Generator) -> float:
    """Seconds until the first one: staggered by chance."""
    for _ in range(100):
        first = float(rng.uniform(1200, every))
        if all((moment - first) % every >= _RECOVERED_S for moment in spared):
            break
    return first


def at_rest(model: CaseModel, rng: np.random.Generator) -> CaseState:
    """Somewhere in its thermostat's band, as found on any day."""
    temperature = model.setpoint + rng.uniform(-model.band, model.band)
    return CaseState(temperature, bool(rng.random() < 0.5), model.defrost_first_s)


def run(model: CaseModel, state: CaseState, start_s: float, inputs: Inputs) -> Trace:
    """Run the case from `start_s` for as many steps as the inputs have; `state` is moved on."""
    steps = len(inputs.ambient)
    ambients, doors = inputs.ambient.tolist(), inputs.door.tolist()
    capacities, stucks = inputs.capacity.tolist(), inputs.stuck_heater.tolist()
    temperatures, coolings, defrosts, heats = [0.0] * steps, [False] * steps, [False] * steps, [0.0] * steps
    temp, cooling = state.temperature, state.cooling
    next_defrost, until, drip = state.next_defrost, state.defrost_until, state.drip_until
    start_at, stop_at = model.setpoint + model.band, model.setpoint - model.band
    cooling_k, heater_k, door_k, end_c = model.cooling_k, model.heater_k, model.door, model.defrost_end_c
    closed = math.exp(-STEP_S / model.tau_s)
    now = start_s
    for i in range(steps):
        defrosting = until > 0
        if defrosting and (temp >= end_c or now >= until):
            defrosting, until, drip = False, -1.0, now + model.drip_s
        elif now >= next_defrost:
            next_defrost += model.defrost_every_s
            if temp < end_c:  # a case that is warm already is not defrosted
                defrosting, until = True, now + model.defrost_max_s
        if defrosting or now < drip:
            cooling = False
        elif temp >= start_at:
            cooling = True
        elif temp <= stop_at:
            cooling = False
        stuck = stucks[i]
        heat = max(1.0 if defrosting else 0.0, stuck)
        push = heat * heater_k - (cooling_k * capacities[i] if cooling else 0.0)
        door = doors[i]
        if door:
            ua = 1.0 + door_k * door
            level = ambients[i] + push / ua
            temp = level + (temp - level) * math.exp(-ua * STEP_S / model.tau_s)
        else:
            level = ambients[i] + push
            temp = level + (temp - level) * closed
        temperatures[i] = temp
        coolings[i] = cooling
        defrosts[i] = defrosting or stuck > 0
        heats[i] = heat
        now += STEP_S
    state.temperature, state.cooling = temp, cooling
    state.next_defrost, state.defrost_until, state.drip_until = next_defrost, until, drip
    running = np.array(coolings)
    power = running * inputs.motor * model.power_kw + np.array(heats) * model.heater_kw
    return Trace(np.array(temperatures), running, np.array(defrosts), power)
