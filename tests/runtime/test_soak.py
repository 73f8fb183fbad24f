"""The soak's own judgement: growth is found, a collection or a start is not taken for it."""

from tests.benchmarks.soak import curves, memory_by_process, page, verdict


def samples(end):
    return [
        {"at": at, "web": 100.0 + (0 if at < 600 else end * (at - 600) / 3000), "beat": 60.0}
        for at in range(0, 3601, 15)
    ]


def test_memory_that_grows_by_more_than_a_twentieth_is_named():
    assert verdict(samples(4.0))["web"]["within"]
    found = verdict(samples(7.0))
    assert not found["web"]["within"]
    assert found["beat"]["within"]
    about = {"minutes": 60, "seed": "7", "speed": "60", "market_hours": 60, "started": "", "version": "", "machine": "",
             "counts": {"fills": 3}}  # fmt: skip
    text = page(about, found, {"desk 1": "trading"}, {})
    assert "Memory grew: web" in text
    assert "| fills | 3 |" in text
    assert curves(samples(7.0), found).count("<polyline") == 2


def test_what_a_start_takes_and_one_sample_out_of_line_are_no_growth():
    found = samples(0.0)
    for sample in found[:30]:
        sample["web"] = 20.0
    found[-1]["web"] = 500.0
    assert verdict(found)["web"]["within"]


def test_the_private_memory_of_a_process_is_that_of_its_family():
    import os

    found = memory_by_process([{"name": "us", "pid": os.getpid()}, {"name": "gone", "pid": None}])
    assert set(found) == {"us"}
    assert found["us"] > 10
