from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from guerdon.parts.http_client import Pace, _seconds


def test_requests_keep_their_distance():
    pace = Pace(requests_per_minute=120)
    assert [pace.reserve(10.0) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert pace.reserve(30.0) == 0.0


def test_tokens_push_the_next_request_back():
    pace = Pace(tokens_per_minute=6000)
    assert pace.reserve(0.0) == 0.0
    pace.spend(1.0, 500)  # five seconds' worth
    assert pace.reserve(1.0) == pytest.approx(5.0)
    assert pace.reserve(7.0) == 0.0


def test_no_limit_is_no_wait_but_a_pause_holds_for_all():
    pace = Pace()
    pace.spend(0.0, 10**9)
    assert pace.reserve(0.0) == 0.0
    pace.pause(0.0, 3.0)
    assert pace.reserve(1.0) == pace.reserve(1.0) == pytest.approx(2.0)


def test_retry_after_is_a_number_or_a_date():
    assert _seconds("2.5") == 2.5
    assert _seconds("-1") == 0.0
    assert _seconds(None) == _seconds("soon") == 0.0
    ahead = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < _seconds(ahead) <= 100
