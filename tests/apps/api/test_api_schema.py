"""The description against the API as it is served: nothing breaks, and nothing is answered that is not described."""

from typing import Any

import pytest
import schemathesis
from django.core.servers.basehttp import WSGIRequestHandler
from schemathesis.engine import Status, events, from_schema

pytestmark = pytest.mark.django_db(transaction=True)
SEED = 20261121
EXAMPLES = 3  # of fuzzing, for each operation; the edges of every field come on top
# what the description cannot say (an id that exists, a market that runs) is a refusal in words, not a fault
NOT_ASKED = ("positive_data_acceptance", "ensure_resource_availability", "use_after_free")
OPERATIONS = 26
# lists whose fields are those of decisions, orders and equity: fuzzed, but not gone through edge by edge
LIKE_OTHERS = ("signals", "fills", "refusals", "positions", "limits", "equity", "accounts")


@pytest.fixture
def described(live_server, desk, program, monkeypatch) -> Any:
    """The API as a server serves it, described by itself, for a token that may do everything."""
    # the server sends header and body apart: each answer would wait 40 ms for the client's acknowledgement
    monkeypatch.setattr(WSGIRequestHandler, "disable_nagle_algorithm", True)
    headers = {"Authorization": f"Bearer {program('admin').token}"}
    config = schemathesis.Config.from_dict(
        {
            "seed": SEED,
            "headers": headers,
            "generation": {"max-examples": EXAMPLES, "database": "none", "no-shrink": True},
            "checks": {name: {"enabled": False} for name in NOT_ASKED},
            "phases": {"stateful": {"enabled": False}, "coverage": {"unexpected-methods": ["DELETE"]}},
            "operations": [
                {"include-path": f"/api/v1/{name}", "phases": {"coverage": {"enabled": False}}} for name in LIKE_OTHERS
            ],
        }
    )
    return schemathesis.openapi.from_url(f"{live_server.url}/api/v1/openapi.json", config=config, headers=headers)


def test_nothing_breaks_and_nothing_is_answered_that_is_not_described(described):
    failures, cases, operations = set(), 0, set()
    for event in from_schema(described).execute():
        assert not isinstance(event, events.FatalError | events.NonFatalError), event.info.format()
        if isinstance(event, events.ScenarioFinished):
            operations.add(event.label)
            cases += len(event.recorder.cases)
            failures |= _failures(event)
    assert not failures, "\n\n".join(sorted(failures)[:20])
    assert len(operations) == OPERATIONS
    assert cases > 700


def _failures(event: events.ScenarioFinished) -> set[str]:
    if event.status not in (Status.FAILURE, Status.ERROR):
        return set()
    return {
        f"{event.label}: {result.name}: {result.failure_info.failure}\n"
        f"{event.recorder.cases[case].value.as_curl_command()}"
        for case, results in event.recorder.checks.items()
        for result in results
        if result.failure_info is not None
    }
