"""The near side's facts: devices, networks, tasks, techniques; what ships adds up, what is wrong is refused plainly."""

from __future__ import annotations

import math
import re
from pathlib import Path
from statistics import NormalDist

import pytest

from profiles import (
    BYTES_PER_VALUE,
    PRIVACY_CLASSES,
    Catalogue,
    Device,
    Model,
    Network,
    Task,
    Technique,
    UserError,
    json_schema,
)
from profiles.device import MeasuredRate
from profiles.network import Distribution, Quantiles

CATALOGUE = Catalogue()
DEVICES = [record for record in CATALOGUE.records("device") if isinstance(record, Device)]
NETWORKS = [record for record in CATALOGUE.records("network") if isinstance(record, Network)]
TASKS = [record for record in CATALOGUE.records("task") if isinstance(record, Task)]
TECHNIQUES = [record for record in CATALOGUE.records("technique") if isinstance(record, Technique)]
RATES = [(device, rate) for device in DEVICES for rate in device.rates]


def refusal(folder: Path, text: str) -> str:
    (folder / "bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        Catalogue(folder).records()
    message = str(caught.value)
    assert "bad.yaml" in message
    assert "\n" not in message
    return message


def read_bytes(model: Model, device: Device, rate: MeasuredRate) -> float:
    """Weights read for a token: layers at the rate's precision, the head at the engine's."""
    head = device.engines[rate.engine].decode[rate.precision].head_precision
    return model.active_layer_params * BYTES_PER_VALUE[rate.precision] + model.head_params * BYTES_PER_VALUE[head]


# What ships.


def test_everything_near_that_should_ship_does() -> None:
    assert {
        "snapdragon-8-elite-phone", "snapdragon-8-gen-3-phone", "snapdragon-8s-gen-3-tablet", "kompanio-ultra-tablet",
        "sa8295p-cockpit", "tv", "watch", "home-hub",
    } <= set(CATALOGUE.names("device"))  # fmt: skip
    assert CATALOGUE.names("network") == (
        "5g-driving", "5g-nsa-low-band", "5g-nsa-mmwave", "5g-sa-low-band", "lte", "offline", "wifi-home",
    )  # fmt: skip
    assert CATALOGUE.names("task") == (
        "agent-long-reasoning",
    "agent-parallel-samples", "car-voice-control", "chat", "code", "document-qa", "image-understanding",
        "meeting-minutes", "speech-in", "speech-out", "text-prediction", "translation", "tv-qa",
    )  # fmt: skip
    assert {technique.method for technique in TECHNIQUES} == {"draft-model", "bita", "medusa", "mtp", "eagle"}


def test_records_are_found_by_name_and_alias() -> None:
    assert CATALOGUE.device("SM8750").name == "snapdragon-8-elite-phone"
    assert CATALOGUE.network("LTE").name == "lte"
    assert CATALOGUE.task("tv qa").name == "tv-qa"
    assert CATALOGUE.technique("speculative decoding").name == "draft-model"
    with pytest.raises(UserError, match=r"unknown device; got 'wach'; did you mean 'watch'"):
        CATALOGUE.device("wach")


@pytest.mark.parametrize(
    ("name", "total_b"),
    [
        ("milm2-1.3b", 1.3), ("milm2-4b", 3.5), ("milm2-6b", 6.0), ("milm2-6b-vl", 6.0), ("milm2-30b", 30.0),
        ("llama-3.2-1b", 1.24), ("llama-3.2-3b", 3.21), ("qwen2.5-1.5b", 1.54), ("qwen2.5-7b", 7.62),
        ("gemma3-1b", 1.0),
    ],
)  # fmt: skip
def test_near_models_add_up_to_their_names(name: str, total_b: float) -> None:
    model = CATALOGUE.model(name)
    assert model.total_params_b == total_b
    assert model.derived_total_params == pytest.approx(total_b * 1e9, rel=0.03)


def test_unpublished_architectures_are_called_assumed() -> None:
    for name in ("milm2-1.3b", "milm2-4b", "milm2-6b", "milm2-6b-vl", "milm2-30b"):
        model = CATALOGUE.model(name)
        assert {"hidden_size", "attention", "ffn", "vocab_size", "max_context_tokens"} <= set(model.assumed_fields())
        assert model.confidence_of("total_params_b") == "measured"
        assert "published" in model.source
    four = CATALOGUE.model("milm2-4b")
    assert (four.layers, four.confidence_of("layers")) == (40, "measured")


def test_a_vision_model_is_its_language_model_with_eyes() -> None:
    seeing, blind = CATALOGUE.model("milm2-6b-vl"), CATALOGUE.model("milm2-6b")
    assert seeing.derived_total_params == blind.derived_total_params
    assert blind.vision is None
    assert seeing.vision is not None
    assert seeing.vision.tokens_per_image <= seeing.vision.patches_per_image
    assert "vision" in seeing.assumed_fields()


# Devices.


@pytest.mark.parametrize(("device", "rate"), RATES, ids=lambda one: getattr(one, "model", None) or one.name)
def test_constants_reproduce_the_published_rates(device: Device, rate: MeasuredRate) -> None:
    """Decoding within twice the fit's mean error; a chunk of prefill within 35 % (a line through a few models)."""
    model, engine = CATALOGUE.model(rate.model), device.engines[rate.engine]
    if rate.tokens_per_s is not None:
        error = engine.decode[rate.precision].mean_error or 0.01
        assert 1 / engine.token_s(rate.precision, read_bytes(model, device, rate)) == pytest.approx(
            rate.tokens_per_s, rel=2 * error
        )
    if rate.chunk_ms is not None:
        assert engine.prefill_s(model.active_layer_params, 128) * 1e3 == pytest.approx(rate.chunk_ms, rel=0.35)


def test_the_published_rates_cover_the_measured_devices() -> None:
    assert {device.name for device, _ in RATES} >= {
        "snapdragon-8-elite-phone", "snapdragon-8-elite-gen-5-phone", "sa8295p-cockpit", "home-hub", "home-hub-rk3588",
    }  # fmt: skip


def test_genie_on_the_8_elite() -> None:
    """Llama-3.2-1B 64 tokens/s and 40 ms a chunk, Llama-3-8B 14.7 and 134 ms; a 3B model between them."""
    npu = CATALOGUE.device("snapdragon-8-elite-phone").engine
    one, three = CATALOGUE.model("llama-3.2-1b"), CATALOGUE.model("llama-3.2-3b")
    assert 1 / npu.token_s("int4", one.active_layer_params * 0.5 + one.head_params) == pytest.approx(64.14, rel=0.02)
    assert 1 / npu.token_s("int4", three.active_layer_params * 0.5 + three.head_params) == pytest.approx(28.6, rel=0.02)
    assert npu.prefill_s(one.active_layer_params, 128) == pytest.approx(0.0396, rel=0.05)


def test_a_started_chunk_costs_a_whole_one() -> None:
    device = CATALOGUE.device("snapdragon-8-elite-phone")
    npu, cpu = device.engines["npu"], device.engines["cpu"]
    assert npu.prefill_s(1e9, 1) == npu.prefill_s(1e9, 128) == npu.prefill_s(1e9, 129) / 2
    assert cpu.prefill_s(1e9, 200) == pytest.approx(200 * cpu.prefill_s(1e9, 1))
    assert npu.prefill_s(1e9, 128) == pytest.approx(24.8e-3 + 2 * 1e9 * 128 / 15.2e12)


def test_an_engine_refuses_a_precision_that_it_does_not_run() -> None:
    with pytest.raises(UserError, match=r"does not run this precision; got 'fp8'; allowed: int4"):
        CATALOGUE.device("watch").engine.token_s("fp8", 1e9)


def test_joules_of_a_battery() -> None:
    battery = CATALOGUE.device("snapdragon-8-elite-phone").battery
    assert battery is not None
    assert battery.capacity_wh == pytest.approx(5.4 * 3.87, rel=0.01)
    assert battery.capacity_j == pytest.approx(75_240)
    assert battery.usable_j == pytest.approx(0.8 * 75_240)


def test_heat_of_a_phone_follows_the_public_run() -> None:
    """About 7 W on the NPU settle below 40 C; about 14 W on the CPU reach the limit in three minutes."""
    phone = CATALOGUE.device("snapdragon-8-elite-phone")
    heat = phone.thermal
    assert heat.time_constant_s == pytest.approx(150, rel=0.01)
    npu_w, cpu_w = (phone.idle_w + phone.engines[name].power_w for name in ("npu", "cpu"))
    assert npu_w < heat.sustained_w < cpu_w
    assert 36 < heat.ambient_c + heat.resistance_c_per_w * npu_w < 40
    after = heat.resistance_c_per_w * cpu_w * (1 - math.exp(-180 / heat.time_constant_s))
    assert heat.ambient_c + after == pytest.approx(heat.skin_limit_c, abs=0.5)


@pytest.mark.parametrize("device", DEVICES, ids=lambda one: one.name)
def test_devices_are_plausible(device: Device) -> None:
    assert (device.tier == "edge") == (device.form == "hub")
    assert (device.battery is None) == (device.form in ("car", "tv", "hub"))
    assert device.thermal.sustained_w > 0
    for engine in device.engines.values():
        for decode in engine.decode.values():
            assert 1 < decode.bandwidth_gb_s < 200
        if engine.peak_tops:
            assert engine.prefill.effective_tops < max(engine.peak_tops.values())
    assert "thermal" in device.assumed_fields()


def test_nothing_about_a_device_without_rates_is_called_measured() -> None:
    for device in DEVICES:
        if not device.rates:
            assert device.confidence == "assumed"
        for name, engine in device.engines.items():
            if not any(decode.points for decode in engine.decode.values()):
                assert device.confidence_of(f"engines.{name}") in ("assumed", "interpolated")


def test_powers_and_heat_are_guesses_everywhere() -> None:
    for device in DEVICES:
        assert device.confidence_of("thermal") == "assumed"
        assert device.confidence_of("idle_w") == "assumed"


# Networks.


DISTRIBUTIONS = [
    (f"{network.name}.{field}", value)
    for network in NETWORKS
    for field in network.fact_fields()
    if isinstance(value := getattr(network, field), Distribution)
]


@pytest.mark.parametrize(("name", "distribution"), DISTRIBUTIONS, ids=[name for name, _ in DISTRIBUTIONS])
def test_the_curve_is_as_far_from_the_table_as_it_says(name: str, distribution: Distribution) -> None:
    """The recorded parameters are the least-squares ones, and the recorded error is theirs."""
    scores, values = Quantiles.SCORES, distribution.quantiles.values
    logs = [math.log(value) for value in values]
    mean_score, mean_log = sum(scores) / 6, sum(logs) / 6
    slope = sum((z - mean_score) * (y - mean_log) for z, y in zip(scores, logs, strict=True))
    slope /= sum((z - mean_score) ** 2 for z in scores)
    fit = distribution.lognormal
    assert fit.sigma == pytest.approx(slope, abs=2e-4)
    assert fit.mu == pytest.approx(mean_log - slope * mean_score, abs=2e-4)
    worst = max(abs(fit.quantile(z) / value - 1) for z, value in zip(scores, values, strict=True))
    assert worst <= fit.worst_error <= worst + 0.002
    assert fit.worst_error < 0.75
    if "rtt" in name:
        assert fit.worst_error < 0.4


def test_normal_scores_are_those_of_the_quantiles() -> None:
    shares = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    assert pytest.approx([NormalDist().inv_cdf(share) for share in shares], abs=1e-6) == Quantiles.SCORES


def test_published_networks() -> None:
    lte, sa = CATALOGUE.network("lte"), CATALOGUE.network("5g-sa-low-band")
    assert lte.rtt_ms is not None
    assert lte.rtt_ms.quantiles.values == (45, 71, 89, 101, 107, 112)
    assert lte.confidence_of("rtt_ms.quantiles") == "measured"
    assert lte.confidence_of("rtt_ms") == "fitted"
    assert lte.rtt_ms.lognormal.mean == pytest.approx(
        math.exp(lte.rtt_ms.lognormal.mu + lte.rtt_ms.lognormal.sigma**2 / 2)
    )
    assert sa.confidence_of("energy") == "assumed"
    for network in NETWORKS:
        if network.connected:
            assert network.confidence_of("outage") == "assumed"
            assert network.confidence_of("energy.base_w") == "assumed"


def test_a_tail_costs_more_than_the_text_it_follows() -> None:
    """10 kB up over LTE move for millijoules; the radio that stays awake burns joules."""
    lte = CATALOGUE.network("lte")
    assert lte.tail is not None
    assert lte.energy is not None
    assert lte.tail.energy_j == pytest.approx(8.56)
    assert lte.energy.up_j_per_mb * 0.01 < lte.tail.energy_j / 1000


def test_driving_loses_the_link_more_often_than_sitting() -> None:
    driving, sitting = CATALOGUE.network("5g-driving").outage, CATALOGUE.network("5g-nsa-low-band").outage
    assert driving is not None
    assert sitting is not None
    assert driving.bad_share > sitting.bad_share > 0


def test_offline_is_offline() -> None:
    offline = CATALOGUE.network("offline")
    assert not offline.connected
    assert {getattr(offline, name) for name in offline.fact_fields() if name != "metered"} == {None}
    assert all(network.connected for network in NETWORKS if network.name != "offline")


# Tasks.


def test_privacy_classes_of_the_scenes() -> None:
    privacy = {task.name: task.privacy for task in TASKS}
    assert set(privacy.values()) == set(PRIVACY_CLASSES)
    assert privacy["text-prediction"] == privacy["car-voice-control"] == "device"
    assert privacy["meeting-minutes"] == privacy["document-qa"] == "home"
    assert privacy["code"] == privacy["translation"] == "any"


def test_public_means_are_the_only_measured_part_of_a_scene() -> None:
    chat, code = CATALOGUE.task("chat"), CATALOGUE.task("code")
    assert (chat.prompt.mean, chat.output.mean) == (1155, 211)
    assert (code.prompt.mean, code.output.mean) == (2048, 28)
    for task in TASKS:
        assert task.confidence == "assumed"
        measured = [path for path, entry in task.provenance.items() if entry.confidence != "assumed"]
        assert measured == (["prompt.mean", "output.mean"] if task.name in ("chat", "code") else [])


@pytest.mark.parametrize("task", TASKS, ids=lambda one: one.name)
def test_lengths_keep_their_mean(task: Task) -> None:
    for lengths in (task.prompt, task.output):
        assert math.exp(lengths.mu + lengths.sigma**2 / 2) == pytest.approx(lengths.mean)
        assert math.sqrt(math.expm1(lengths.sigma**2)) == pytest.approx(lengths.cv)
        assert lengths.mean < lengths.max


def test_media_weigh_more_than_text() -> None:
    image, speech = CATALOGUE.task("image-understanding").media, CATALOGUE.task("speech-in").media
    assert image is not None
    assert speech is not None
    assert image.mean_bytes == pytest.approx(1.56e6)
    assert image.mean_tokens == pytest.approx(748.8)
    vision = CATALOGUE.model("milm2-6b-vl").vision
    assert vision is not None
    assert image.tokens_per_unit == vision.tokens_per_image
    assert speech.mean_bytes == 20_000


def test_every_form_of_device_has_something_to_ask() -> None:
    for device in DEVICES:
        assert sum(task.mix.get(device.form, 0) for task in TASKS) > 0, device.form


# Techniques.


def test_multi_token_prediction_agrees_with_its_report() -> None:
    mtp = CATALOGUE.technique("mtp")
    assert mtp.reported is not None
    assert mtp.reported.tokens_per_step is not None
    assert mtp.reported.speedup is not None
    low, high = mtp.reported.tokens_per_step
    assert mtp.tokens_per_step == pytest.approx(1 + 0.9 + 0.9 * 0.82 + 0.9 * 0.82 * 0.75)
    assert low < mtp.tokens_per_step < high
    assert mtp.reported.speedup[0] < mtp.speedup < mtp.reported.speedup[1]
    assert mtp.acceptance == CATALOGUE.model("mimo-7b").mtp.acceptance  # type: ignore[union-attr]


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda one: one.name)
def test_no_technique_promises_more_than_its_report(technique: Technique) -> None:
    assert 1 < technique.speedup < technique.tokens_per_step <= technique.drafted_tokens + 1
    assert technique.reported is not None
    assert technique.reported.speedup is not None
    assert technique.speedup <= technique.reported.speedup[1]
    if technique.draft_model is not None:
        assert CATALOGUE.model(technique.draft_model).total_params_b < 1


# Bad files.


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: device\nextends: tv\ndefault_engine: gpu", "no such engine of this device; got 'gpu'"),
        ("kind: device\nextends: tv\nmodel_memory_gib: 3", "model_memory_gib must be below memory_gib; got (3.0, 3.0)"),
        ("kind: device\nextends: tv\nstandby_w: 200", "standby_w must not exceed idle_w"),
        ("kind: device\nextends: tv\nthermal: {skin_limit_c: 20}", "skin_limit_c must be above ambient_c"),
        ("kind: device\nextends: tv\nengines: {npu: {decod: {}}}", "npu.decod: unknown key; did you mean 'decode'"),
        ("kind: device\nextends: tv\ntier: cloud", "tier: bad value; got 'cloud'; allowed: near or edge"),
        ("kind: device\nextends: watch\nbattery: {saver_floor: 20}", "battery.saver_floor: bad value; got 20"),
        ("kind: device\nextends: watch\nbattery: {charge_from_hour: 24}", "charge_from_hour: bad value; got 24"),
        ("kind: network\nextends: lte\nradio: null", "rtt_ms does not go with radio; got 'no radio'; allowed: nothing"),
        ("kind: network\nextends: lte\nenergy: null", "energy does not go with radio; got 'lte'; allowed: a value"),
        ("kind: network\nextends: lte\nrtt_ms: {quantiles: {p50: 5}}", "must not fall from p5 to p99"),
        ("kind: network\nextends: lte\noutage: {loss: 2}", "outage.loss: bad value; got 2"),
        ("kind: task\nextends: chat\nprivacy: secret", "got 'secret'; allowed: device, home or any"),
        ("kind: task\nextends: chat\nmix: {fridge: 1}", "mix.fridge: bad value; got 'fridge'; allowed: phone, tablet"),
        ("kind: task\nextends: tv-qa\nmix: {tv: 0}", "mix must give some form a weight above 0"),
        ("kind: task\nextends: chat\nprompt: {max: 100}", "mean must not exceed max; got (1155.0, 100)"),
        ("kind: technique\nextends: mtp\nacceptance: [0.9]", "one chance for every drafted token; got 1; allowed: 3"),
        ("kind: technique\nextends: mtp\ndraft_model: qwen3-0.6b", "draft_model goes with method draft-model"),
        ("kind: technique\nextends: mtp\nverify_cost: 0.5", "verify_cost: bad value; got 0.5"),
    ],
)  # fmt: skip
def test_bad_near_facts_are_told_by_field_value_and_what_is_allowed(tmp_path: Path, text: str, told: str) -> None:
    assert told in refusal(tmp_path, f"{text}\nname: mine\n")


def test_a_users_device_extends_a_shipped_one(tmp_path: Path) -> None:
    text = "kind: device\nname: mine\nextends: snapdragon-8-elite-phone\nsource: my meter\nconfidence: measured\n"
    (tmp_path / "mine.yaml").write_text(text + "engines: {npu: {power_w: 4.1}}\nbattery: null\n", encoding="utf-8")
    mine = Catalogue(tmp_path).device("mine")
    assert (mine.engine.power_w, mine.battery) == (4.1, None)
    assert mine.confidence_of("engines.npu.power_w") == "measured"
    assert mine.confidence_of("engines.npu.decode") == "fitted"
    assert mine.confidence_of("thermal") == "assumed"


@pytest.mark.parametrize("kind", ["device", "network", "task", "technique"])
def test_every_field_of_a_new_kind_is_described_and_units_are_spelt_out(kind: str) -> None:
    spelt = {"gib": "GiB", "w": "Watts", "wh": "Watt-hours", "ms": "Milliseconds", "s": "econds|How long"}
    schema = json_schema(kind)
    groups = {"": schema, **{name: group for name, group in schema["$defs"].items() if name != "Provenance"}}
    for title, group in groups.items():
        for name, field in group["properties"].items():
            words = field.get("description", "")
            assert words or name in Device.IDENTITY, f"{title}.{name}"
            unit = re.search(r"(?<!per)(?<!_gb)_(gib|w|wh|ms|s)$", name)
            assert unit is None or re.search(spelt[unit[1]], words), f"{title}.{name}"
