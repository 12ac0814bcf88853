"""Physics of one case."""

import numpy as np
import pytest

from grocery.simulator import thermal
from grocery.simulator.chance import chance
from grocery.simulator.thermal import STEP_S, CaseModel, CaseState, Inputs

AMBIENT = 21.0
FREEZER = CaseModel(
    setpoint=-20,
    band=0.8,
    tau_s=7 * 3600,
    cooling_k=41 / 0.55,
    heater_k=85,
    door=4,
    defrost_every_s=6 * 3600,
    defrost_first_s=1e9,
    defrost_max_s=2400,
    defrost_end_c=-13.3,
    drip_s=150,
    power_kw=2,
    heater_kw=3,
)


def steps(hours: float) -> int:
    return round(hours * 3600 / STEP_S)


def at(temperature: float, defrost: float = 1e9) -> CaseState:
    return CaseState(temperature, False, defrost)


def test_without_its_compressor_a_case_warms_along_an_exponential_towards_ambient():
    inputs = Inputs.quiet(steps(21), AMBIENT)
    inputs.capacity[:] = 0
    trace = thermal.run(FREEZER, at(-20), 0, inputs)
    seconds = np.arange(1, len(trace.temperature) + 1) * STEP_S
    expected = AMBIENT + (-20 - AMBIENT) * np.exp(-seconds / FREEZER.tau_s)
    assert np.abs(trace.temperature - expected).max() < 1e-9


def test_a_sound_case_cycles_within_its_thermostats_band():
    trace = thermal.run(FREEZER, at(-20), 0, Inputs.quiet(steps(24), AMBIENT))
    assert trace.temperature.min() > -20.9
    assert trace.temperature.max() < -19.1
    starts = np.count_nonzero(np.diff(trace.cooling.astype(int)) == 1)
    assert 12 <= starts <= 60


def test_what_the_compressor_takes_out_is_what_came_in():
    inputs = Inputs.quiet(steps(48), AMBIENT)
    inputs.door[: steps(12)] = 0.05
    trace = thermal.run(FREEZER, at(-20), 0, inputs)
    before = np.concatenate([[-20], trace.temperature[:-1]])
    came_in = ((1 + FREEZER.door * inputs.door) * (AMBIENT - (before + trace.temperature) / 2)).sum()
    taken_out = trace.cooling.sum() * FREEZER.cooling_k
    stored = (trace.temperature[-1] + 20) * FREEZER.tau_s / STEP_S
    assert came_in - taken_out == pytest.approx(stored, abs=0.001 * came_in)


def test_an_open_door_warms_the_case_and_makes_the_compressor_run_longer():
    shut = thermal.run(FREEZER, at(-20), 0, Inputs.quiet(steps(6), AMBIENT))
    inputs = Inputs.quiet(steps(6), AMBIENT)
    inputs.door[:] = 0.6
    ajar = thermal.run(FREEZER, at(-20), 0, inputs)
    assert ajar.temperature[-1] > shut.temperature[-1] + 4
    assert ajar.cooling.mean() > shut.cooling.mean() + 0.3


def test_a_warmer_shop_makes_the_compressor_run_longer():
    cool = thermal.run(FREEZER, at(-20), 0, Inputs.quiet(steps(24), 18.0))
    warm = thermal.run(FREEZER, at(-20), 0, Inputs.quiet(steps(24), 26.0))
    assert warm.cooling.mean() > cool.cooling.mean() * 1.1


def test_a_defrost_ends_by_temperature_and_the_case_is_cold_again_within_two_hours():
    trace = thermal.run(FREEZER, at(-20, defrost=3600), 0, Inputs.quiet(steps(5), AMBIENT))
    on = np.flatnonzero(trace.defrost)
    assert on[0] == steps(1)
    assert 10 * 60 < len(on) * STEP_S < 40 * 60
    assert not trace.cooling[on].any()
    assert -13.4 < trace.temperature.max() < -12.5
    assert trace.temperature[steps(1) + steps(2)] < -19


def test_a_case_that_is_warm_already_is_not_defrosted():
    trace = thermal.run(FREEZER, at(-5, defrost=60), 0, Inputs.quiet(steps(0.5), AMBIENT))
    assert not trace.defrost.any()


def test_a_heater_stuck_on_wins_against_the_compressor_and_shows_as_defrost():
    inputs = Inputs.quiet(steps(2), AMBIENT)
    inputs.stuck_heater[:] = 1
    trace = thermal.run(FREEZER, at(-20), 0, inputs)
    assert trace.temperature[-1] > -12
    assert trace.defrost.all()
    assert trace.power.min() >= FREEZER.heater_kw


def test_running_in_two_pieces_gives_what_one_piece_gives():
    whole, halves = at(-20, defrost=5000), at(-20, defrost=5000)
    one = thermal.run(FREEZER, whole, 0, Inputs.quiet(steps(4), AMBIENT))
    first = thermal.run(FREEZER, halves, 0, Inputs.quiet(steps(1.5), AMBIENT))
    second = thermal.run(FREEZER, halves, 1.5 * 3600, Inputs.quiet(steps(2.5), AMBIENT))
    assert np.array_equal(one.temperature, np.concatenate([first.temperature, second.temperature]))
    assert np.array_equal(one.defrost, np.concatenate([first.defrost, second.defrost]))


def test_no_defrost_begins_in_the_two_hours_before_a_moment_to_be_spared():
    for seed in range(20):
        model = thermal.case_model("freezer", -20, True, chance(seed, "case"), [3 * 3600, 27 * 3600])
        begins = model.defrost_first_s + model.defrost_every_s * np.arange(6)
        for moment in (3 * 3600, 27 * 3600):
            assert not ((begins > moment - 7200) & (begins <= moment)).any()
