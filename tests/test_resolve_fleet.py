"""From names to the constants of the rules: rates as published, memory that holds, shares that are exact."""

from __future__ import annotations

import time

import numpy as np
import pytest

from profiles import BYTES_PER_VALUE, Catalogue, Device, UserError
from profiles.device import MeasuredRate
from sim.blindness import Cells, auc_of
from sim.far import far_of
from sim.fleet import FleetSettings
from sim.fleet_facts import clipped_mean, network_class, task_kind
from sim.fleet_rows import largest_remainder
from sim.fleet_spec import FleetSpec, NearSpec
from sim.measured_auc import CASCADE_AUC, ESTIMATE_AUC, MeasuredAuc
from sim.near import near_of
from sim.pool import EngineSettings, PoolSettings
from sim.resolve import synthetic_costs
from sim.resolve_fleet import FarModel, resolve_fleet
from sim.scenario import SyntheticSpec
from sim.workloads.streams import stream
from tests.fleets import CARS, CATALOGUE, PHONES, WATCHES, cloud, fleet_spec, one_group

DEVICES = [record for record in Catalogue().records("device") if isinstance(record, Device)]
TWO = {"chat": 0.8, "code": 0.2}
RATES = [(device, rate) for device in DEVICES for rate in device.rates]


# Times.


@pytest.mark.parametrize(("device", "rate"), RATES, ids=lambda one: getattr(one, "model", None) or one.name)
def test_constants_give_the_published_rates(device: Device, rate: MeasuredRate) -> None:
    near = near_of("near", device, NearSpec(model=rate.model, precision=rate.precision, engine=rate.engine), CATALOGUE)
    if rate.tokens_per_s is not None:
        error = device.engines[rate.engine].decode[rate.precision].mean_error or 0.01
        assert 1 / near.token_s == pytest.approx(rate.tokens_per_s, rel=2 * error)
    if rate.chunk_ms is not None:
        assert near.chunk_tokens == 128
        assert near.chunk_s * 1e3 == pytest.approx(rate.chunk_ms, rel=0.35)


def test_a_row_kind_by_hand() -> None:
    fleet = resolve_fleet(one_group("snapdragon-8-elite-phone", near=PHONES["near"]), CATALOGUE, cloud())
    kind, model = fleet.kinds[0], CATALOGUE.model("milm2-4b")
    layers, head = model.active_layer_params, model.head_params
    assert kind.chunk_s == pytest.approx(24.8e-3 + 2 * layers * 128 / 15.2e12)
    assert kind.token_s == pytest.approx(2e-3 + (layers * 0.5 + head * 1.0) / 54.6e9)
    assert kind.context_s == pytest.approx(40 * 4 * 256 * 2 / 54.6e9)
    assert kind.load_s == pytest.approx((layers * 0.5 + head) / 2.5e9)  # the head is the embedding table
    assert (kind.power_w, kind.capacity_j, kind.floor_j) == (5.0, pytest.approx(75_240), pytest.approx(15_048))
    assert kind.background_w == pytest.approx(0.15 * 2.0 + 0.85 * 0.1)
    assert (kind.charge_from_s, kind.charge_s, kind.charge_w) == (23 * 3600, 7 * 3600, 30)
    assert kind.pressure_per_s == pytest.approx(0.5 / 3600)
    assert (kind.limit_c, kind.throttled_clock, kind.modalities) == (42, 0.5, 5)
    left = 5 * 2**30 - kind.load_s * 2.5e9
    assert kind.max_tokens == int(left // (40 * 4 * 256 * 2))


def test_speculative_decoding_divides_by_its_own_speedup() -> None:
    phone, bita = CATALOGUE.device("snapdragon-8-elite-phone"), CATALOGUE.technique("bita")
    plain = near_of("near", phone, NearSpec(model="milm2-4b"), CATALOGUE)
    fast = near_of("near", phone, NearSpec(model="milm2-4b", technique="bita"), CATALOGUE)
    assert plain.token_s / fast.token_s == pytest.approx(bita.speedup)
    assert plain.context_s / fast.context_s == pytest.approx(bita.speedup)
    assert fast.chunk_s == plain.chunk_s
    assert fast.weight_bytes == pytest.approx(plain.weight_bytes * 1.0001)
    drafted = near_of("near", phone, NearSpec(model="milm2-4b", technique="draft-model"), CATALOGUE)
    small = near_of("near", phone, NearSpec(model="qwen3-0.6b"), CATALOGUE)
    assert drafted.weight_bytes == pytest.approx(plain.weight_bytes + small.weight_bytes)
    assert drafted.max_tokens < plain.max_tokens
    assert any("draft" in one for one in drafted.assumed)


def test_eyes_take_memory_and_let_images_in() -> None:
    tablet = CATALOGUE.device("kompanio-ultra-tablet")
    seeing = near_of("near", tablet, NearSpec(model="milm2-6b-vl"), CATALOGUE)
    blind = near_of("near", tablet, NearSpec(model="milm2-6b-vl", modalities=("text",)), CATALOGUE)
    assert (seeing.modalities, blind.modalities) == (7, 1)
    assert seeing.weight_bytes - blind.weight_bytes == pytest.approx(0.8e9)


def test_sliding_windows_cost_a_constant() -> None:
    tv, model = CATALOGUE.device("tv"), CATALOGUE.model("gemma3-1b")
    near = near_of("near", tv, NearSpec(model="gemma3-1b", precision="int4"), CATALOGUE)
    rate = tv.engine.decode["int4"]
    window = 22 * 512 * 512 * 2
    read = model.active_layer_params * 0.5 + model.head_params * BYTES_PER_VALUE[rate.head_precision]
    assert near.token_s == pytest.approx(tv.engine.token_s("int4", read + window))
    assert near.context_s == pytest.approx(4 * 512 * 2 / (rate.bandwidth_gb_s * 1e9))


# Memory.


def test_what_does_not_fit_is_told_with_both_sizes() -> None:
    with pytest.raises(UserError) as caught:
        resolve_fleet(one_group("watch", near={"model": "milm2-4b"}), CATALOGUE, cloud())
    message = str(caught.value)
    assert "fleet.groups.all.near: milm2-4b does not fit on watch: weights 1." in message
    assert "allowed: 0.50 GiB, caches included" in message


def test_context_limits_what_memory_would_hold() -> None:
    hub = CATALOGUE.device("home-hub")
    assert near_of("near", hub, NearSpec(model="gemma3-1b"), CATALOGUE).max_tokens == 32_768


# Devices.


@pytest.mark.parametrize("devices", [1, 2, 7, 999, 12_345])
def test_shares_are_exact(devices: int) -> None:
    fleet = resolve_fleet(fleet_spec(devices), CATALOGUE, cloud(), seed=4)
    counts = np.bincount(fleet.kind[:devices], minlength=3)
    assert counts.tolist() == largest_remainder([0.6, 0.25, 0.15], devices)
    assert counts.sum() == devices
    assert np.abs(counts - np.array([0.6, 0.25, 0.15]) * devices).max() < 1


def test_largest_remainder() -> None:
    assert largest_remainder([0.5, 0.5], 3) == [2, 1]
    assert largest_remainder([1 / 3, 1 / 3, 1 / 3], 10) == [4, 3, 3]
    assert largest_remainder([0.98, 0.01, 0.01], 10) == [10, 0, 0]


def test_households_share_hubs() -> None:
    fleet = resolve_fleet(fleet_spec(5000, regions=9), CATALOGUE, cloud(), seed=2)
    owners = np.flatnonzero(fleet.hub >= 0)
    assert len(owners) == 900
    assert set(fleet.kind[owners]) == {0}
    assert fleet.rows - fleet.devices == 300
    homes, sizes = np.unique(fleet.hub[owners], return_counts=True)
    assert homes.tolist() == list(range(5000, 5300))
    assert set(sizes) == {3}
    assert set(fleet.kind[5000:]) == {3}
    assert fleet.kinds[3].name == "hubs"
    for home in homes[:50]:
        assert len(set(fleet.region[fleet.hub == home])) == 1
    assert set(fleet.region) == set(range(9))


def test_kinds_and_owners_are_not_tied_to_activity() -> None:
    """The first devices are the most active: phones and owners must not crowd there."""
    fleet = resolve_fleet(fleet_spec(20_000), CATALOGUE, cloud(), seed=5)
    first = slice(0, 2000)
    assert (fleet.kind[first] == 0).mean() == pytest.approx(0.6, abs=0.05)
    assert (fleet.hub[first] >= 0).mean() == pytest.approx(0.18, abs=0.04)


def test_charge_at_the_start() -> None:
    spec = fleet_spec(4000)
    fleet = resolve_fleet(spec, CATALOGUE, cloud(), seed=3)
    phones, cars = fleet.battery_share[fleet.kind == 0], fleet.battery_share[fleet.kind == 1]
    assert 0.3 <= phones.min() < 0.32
    assert 0.98 < phones.max() <= 1.0
    assert set(cars) == set(fleet.battery_share[fleet.kind == 3]) == {1.0}


def test_a_seed_is_a_fleet() -> None:
    one, same, other = (resolve_fleet(fleet_spec(), CATALOGUE, cloud(), seed=seed) for seed in (1, 1, 2))
    for name in ("kind", "hub", "region", "battery_share"):
        assert np.array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.kind, other.kind)
    assert one.kinds == same.kinds == other.kinds


def test_dtypes() -> None:
    fleet = resolve_fleet(fleet_spec(50), CATALOGUE, cloud())
    assert [one.dtype for one in (fleet.kind, fleet.hub, fleet.region, fleet.battery_share, fleet.ability)] == [
        np.int16, np.int32, np.int8, np.float32, np.float64,
    ]  # fmt: skip
    assert len(fleet.battery_share) == len(fleet.kind) == fleet.rows


def test_a_million_devices_in_half_a_second() -> None:
    begun = time.process_time()
    resolve_fleet(fleet_spec(1_000_000), CATALOGUE, cloud())
    assert time.process_time() - begun < 0.5


# Models.


def test_one_model_is_one_number() -> None:
    pools = {
        "a": FarModel(model=CATALOGUE.model("milm2-4b"), precision="int4", tier="edge"),
        "b": FarModel(model=CATALOGUE.model("milm2-4b"), precision="fp8"),
        "c": FarModel(model=CATALOGUE.model("milm2-4b"), precision="fp8", ability={"chat": 3.0}),
    }
    fleet = resolve_fleet(fleet_spec(), CATALOGUE, pools)
    assert fleet.models == (
        "milm2-4b int4", "milm2-1.3b int4", "qwen3-8b int4", "milm2-4b fp8", "milm2-4b fp8 (pools.c)",
    )  # fmt: skip
    assert [fleet.facts["pools"][name]["model"] for name in "abc"] == [0, 3, 4]
    assert [kind.model for kind in fleet.kinds] == [0, 1, -1, 2]
    chat = [task.name for task in fleet.tasks].index("chat")
    assert fleet.ability[4, chat] == 3.0
    assert fleet.ability[3, chat] > fleet.ability[0, chat] > fleet.ability[1, chat]
    assert fleet.ability.shape == (5, len(CATALOGUE.names("task")))


def test_what_is_assumed_is_said() -> None:
    fleet = resolve_fleet(fleet_spec(), CATALOGUE, cloud())
    said = "\n".join(fleet.assumed)
    for words in ("speech front end", "screen_share 0.15", "16 bits", "device watch:", "task chat:"):
        assert words in said, words


def test_where_abilities_come_from_is_said() -> None:
    said = [one for one in resolve_fleet(fleet_spec(), CATALOGUE, cloud()).assumed if one.startswith("abilities")]
    fitted, by_size, loss = said
    assert "of qwen3-8b: fitted to published scores" in fitted
    assert "of milm2-4b, milm2-1.3b, milm2-30b: by size alone, -0.16 + 1.364 log10" in by_size
    assert loss == "abilities: 0.15 logits lost with 4 bits, 0.03 with 8 bits"
    given = PHONES["near"] | {"ability": {"default": 1.0}}
    fleet = resolve_fleet(one_group("snapdragon-8-elite-phone", near=given), CATALOGUE, {})
    assert not any("milm2-4b" in one for one in fleet.assumed if one.startswith("abilities"))


# Estimates.


def _cells(fleet: FleetSettings, kind: int, weights: dict[str, float]) -> Cells:
    names = [task.name for task in fleet.tasks]
    difficulty = [CATALOGUE.task(name).difficulty for name in weights]
    able = [fleet.ability[fleet.kinds[kind].model, names.index(name)] for name in weights]
    return Cells(
        np.array([a - d.mean for a, d in zip(able, difficulty, strict=True)]),
        np.array([d.spread for d in difficulty]),
        np.array(list(weights.values())),
    )


def test_a_router_is_as_blind_as_the_measured_one() -> None:
    fleet = resolve_fleet(one_group("snapdragon-8-elite-phone", near=PHONES["near"], tasks=TWO), CATALOGUE, cloud())
    assert fleet.estimate_spread > 0
    assert auc_of(_cells(fleet, 0, TWO), fleet.estimate_spread) == pytest.approx(ESTIMATE_AUC.auc, abs=1e-6)
    assert fleet.cascade.auc == CASCADE_AUC.auc
    said = "\n".join(fleet.assumed)
    assert f"{ESTIMATE_AUC.auc:.3f} ({ESTIMATE_AUC.source}) is estimate_spread {fleet.estimate_spread:.2f}" in said
    assert f"fleet.cascade: auc {CASCADE_AUC.auc:g} ({CASCADE_AUC.source})" in said


def test_an_auc_that_is_given_is_met_over_groups_and_tasks() -> None:
    groups = {
        "a": PHONES | {"share": 0.75, "tasks": TWO, "hub_share": 0},
        "b": CARS | {"share": 0.25, "tasks": {"chat": 1}},
    }
    fleet = resolve_fleet(fleet_spec(groups=groups, hubs=None, estimate_auc=0.6), CATALOGUE, cloud())
    a, b = _cells(fleet, 0, TWO), _cells(fleet, 1, {"chat": 1.0})
    together = Cells(*(np.concatenate(one) for one in zip(a, b, strict=True)))
    together = together._replace(weight=np.array([0.75 * 0.8, 0.75 * 0.2, 0.25]))
    assert auc_of(together, fleet.estimate_spread) == pytest.approx(0.6, abs=1e-6)
    assert any("estimate_auc of 0.600 is estimate_spread" in one for one in fleet.assumed)
    assert not any(ESTIMATE_AUC.source in one for one in fleet.assumed)


def test_a_spread_that_is_given_is_taken_as_it_is() -> None:
    fleet = resolve_fleet(fleet_spec(estimate_spread=0.0, cascade={"auc": 0.9}), CATALOGUE, cloud())
    assert (fleet.estimate_spread, fleet.cascade.auc) == (0.0, 0.9)
    assert any("estimate_spread 0 is an estimate_auc of 0." in one for one in fleet.assumed)
    assert not any(one.startswith("fleet.cascade: auc") for one in fleet.assumed)


def test_an_auc_out_of_reach_is_refused_with_the_range() -> None:
    with pytest.raises(UserError, match=r"fleet.estimate_auc: .*got 0.99; allowed: 0.50\d to 0.\d+;.*estimate_spread"):
        resolve_fleet(fleet_spec(estimate_auc=0.99), CATALOGUE, cloud())


def test_a_measured_auc_out_of_reach_is_the_nearest_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.fleet_estimate.ESTIMATE_AUC", MeasuredAuc(0.99, "a test"))
    fleet = resolve_fleet(fleet_spec(), CATALOGUE, cloud())
    assert fleet.estimate_spread == pytest.approx(0.0, abs=1e-6)
    assert any("the nearest to 0.99 for these tasks" in one for one in fleet.assumed)


def test_tasks_that_a_model_cannot_take_do_not_count() -> None:
    images = {"image-understanding": 100.0, "chat": 1.0}
    blind, plain = (
        resolve_fleet(one_group("snapdragon-8-elite-phone", near=PHONES["near"], tasks=tasks), CATALOGUE, cloud())
        for tasks in (images, {"chat": 1.0})
    )
    assert blind.estimate_spread == plain.estimate_spread


def test_a_fleet_without_near_models_is_as_blind_about_the_far_ones() -> None:
    spec = FleetSpec.model_validate({"devices": 9, "groups": {"all": WATCHES | {"share": 1, "tasks": {"chat": 1}}}})
    fleet = resolve_fleet(spec, CATALOGUE, cloud())
    task = CATALOGUE.task("chat").difficulty
    cells = Cells(
        fleet.ability[:, CATALOGUE.names("task").index("chat")] - task.mean, np.array([task.spread]), np.ones(1)
    )
    assert auc_of(cells, fleet.estimate_spread) == pytest.approx(ESTIMATE_AUC.auc, abs=1e-6)


# Networks and tasks.


def test_networks_in_seconds_bits_and_bytes() -> None:
    lte, wifi = (network_class(CATALOGUE.network(name)) for name in ("lte", "wifi-home"))
    assert lte.rtt_s == pytest.approx((0.045, 0.071, 0.089, 0.101, 0.107, 0.112))
    assert lte.uplink_bps[2] == pytest.approx(31e6)
    assert (lte.promotion_s, lte.promotion_idle_s) == (pytest.approx(0.26), 10.7)
    assert lte.up_j_per_byte == pytest.approx(0.613e-6)
    assert (lte.metered, lte.home, wifi.home, wifi.metered) == (True, False, True, False)
    assert wifi.rtt_edge_s[2] == pytest.approx(0.0035)
    assert not network_class(CATALOGUE.network("offline")).radio


def test_tasks_say_what_they_need() -> None:
    kinds = {name: task_kind(CATALOGUE.task(name)) for name in CATALOGUE.names("task")}
    assert (kinds["chat"].modality, kinds["image-understanding"].modality, kinds["speech-in"].modality) == (1, 3, 5)
    assert kinds["text-prediction"].privacy == "device"
    assert kinds["chat"].slo_e2e_s == np.inf
    assert kinds["speech-out"].output_hint == pytest.approx(60 + 15 * 25, rel=0.01)


@pytest.mark.parametrize("name", CATALOGUE.names("task"))
def test_the_mean_of_what_is_cut(name: str) -> None:
    for lengths in (CATALOGUE.task(name).prompt, CATALOGUE.task(name).output):
        drawn = np.clip(stream(1, name).lognormal(lengths.mu, lengths.sigma, 400_000), 1, lengths.max)
        assert clipped_mean(lengths) == pytest.approx(drawn.mean(), abs=5 * drawn.std() / 632)


# Pools.


def test_a_pool_as_a_router_sees_it() -> None:
    engine = EngineSettings(max_num_seqs=8, max_num_batched_tokens=100)
    pool = PoolSettings(engine=engine)
    costs = synthetic_costs(SyntheticSpec(step_s=0.01, per_sequence_s=0.001, per_token_s=0.0001), engine)
    known = {"model": 2, "modalities": 5, "tier": "edge"}
    far = far_of(pool, costs, known, prompt_mean=50, output_mean=20, price_usd_per_s=0.5)
    assert far.decode_s == pytest.approx([0.01 + b * 0.0011 for b in range(9)])
    assert far.prefill_token_s == pytest.approx((0.01 + 2 * 0.001 + 100 * 0.0001) / 100)
    assert (far.tier, far.model, far.modalities, far.output_mean, far.price_usd_per_s) == ("edge", 2, 5, 20, 0.5)
