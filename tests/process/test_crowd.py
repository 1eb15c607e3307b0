"""How many strangers may come at once."""

from tcppipe.process.crowd import ALL, EACH, SECONDS, Crowd


def test_one_address_is_turned_away_before_all_are():
    """So many of one address may come in some seconds, and others still; later more of both."""
    crowd = Crowd()
    assert sum(crowd.admits("192.0.2.1", 0.0) for _ in range(2 * EACH)) == EACH
    assert crowd.admits("192.0.2.2", 1.0)
    assert not crowd.admits("192.0.2.1", SECONDS - 1.0)
    assert crowd.admits("192.0.2.1", SECONDS)
    assert sum(crowd.admits(f"10.0.0.{n}", SECONDS) for n in range(2 * ALL)) == ALL - 2
    assert crowd.admits("192.0.2.3", 2 * SECONDS)
