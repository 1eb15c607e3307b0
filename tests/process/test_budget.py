"""How much is said: about each subject, and in all."""

import os

from tcppipe.process import budget
from tcppipe.process.budget import ALL, EACH, PEER, Budget


class Spender:
    """The accounts, as somebody uses them who speaks of what a peer has brought up."""

    def __init__(self, accounts, peer):
        self.accounts, self.peer = accounts, peer

    def spend(self, subject, grave, now):
        """May it be said?"""
        return self.accounts.spend(subject, grave, now, self.peer)


def spend_all(accounts, subject, grave=False, now=0.0):
    """How many messages about a subject may be said at once."""
    count = 0
    while accounts.spend(subject, grave, now)[0]:
        count += 1
    return count


def test_each_subject_has_its_own():
    """Who has used up his budget does not silence another, and what is grave is said still."""
    accounts = Budget(0)
    assert spend_all(accounts, "web1") == EACH[0]
    assert spend_all(accounts, "web2") == EACH[0]
    assert spend_all(accounts, "web1", grave=True) == EACH[0]


def test_it_fills_up_again_and_the_rest_is_counted():
    """After some time there is room again, and then is said how much was suppressed."""
    accounts = Budget(0)
    spend_all(accounts, "web1")
    for _ in range(41):
        assert accounts.spend("web1", False, 0.0) == (False, 0)
    assert accounts.spend("web1", False, 1 / EACH[1]) == (True, 42)
    assert accounts.spend("web1", False, 2 / EACH[1]) == (True, 0)


def test_a_peer_cannot_use_up_what_others_have():
    """He may think of any number of subjects: together they have one budget. What is suppressed
    of it is told of him, and others have theirs."""
    accounts = Budget(0)
    evil, web1 = Spender(accounts, "evil"), Spender(accounts, "web1")
    assert sum(spend_all(evil, f"evil:/{n}", grave=True) for n in range(1000)) == PEER[0]
    assert spend_all(web1, "web1:/a", grave=True) > 0
    assert dict(accounts.overdue(0.0)) == {}
    assert dict(accounts.overdue(2.0))["evil"] > 100


def test_all_together_are_bounded():
    """However many subjects there are, there is a bound for all of them."""
    accounts = Budget(0)
    said = sum(accounts.spend(f"web{n}", False, 0.0)[0] for n in range(3 * int(ALL[0])))
    assert said <= ALL[0]
    assert accounts.spend("web1", True, 0.0)[0]


def test_children_share_one_budget():
    """What children say is on their parent's account, and is told by it when nobody else does."""
    accounts = Budget(0)
    accounts.share()
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            for _ in range(50):
                accounts.spend("strangers", False, 0.0)
            os._exit(0)
        os.waitpid(pid, 0)
    assert accounts.overdue(0.0) == []
    assert accounts.overdue(10.0) == [("strangers", 50)]
    assert accounts.overdue(10.0) == []


def test_any_name():
    """A name of any length and any bytes has an account."""
    accounts = Budget(0)
    for name in ("x" * 5000, "\udcff/a", "é" * 63, "a\0b"):
        spend_all(accounts, name)
    assert len(accounts.overdue(1000.0)) == 4


def test_damaged_numbers_do_no_harm():
    """Two processes may have written at once: whatever stands there, there is an answer."""
    accounts = Budget(0)
    accounts.share()
    budget._SLOT.pack_into(accounts._table, 0, 1e300, -5.0, 1e300, 1e300, 7, 9, b"\xff")
    assert accounts.spend("", False, 1.0)[0] in (True, False)
    assert accounts.spend("web1", True, 1e6)[0] in (True, False)
