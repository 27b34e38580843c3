"""Lanes and the workers on which their work is done.

The input of a fleet is divided among ``lanes``, each with a sequence of its own. Lanes are counted from 0,
records from 1, and record *i* of lane *k* has the sequence ``i * lanes + k``. So a place (sequence, part) is
unique in the whole run, the lane follows from the sequence, and with one lane the sequence is the number of
the record.

The engine gives the parts of a source to the workers in turn, and a key to the worker that is the remainder
of a hash of the key. `placed` finds a key that its hash puts on a wanted worker, so that the stages of a lane
work where its source reads, and targets are spread evenly. This is for speed alone: with another number of
workers everything is right, only more crosses between them.
"""

from __future__ import annotations

from itertools import chain, count

__all__ = ["ONLY_LANE", "lane_keys", "lane_names", "name_of", "placed", "worker_of"]

#: Key of the only lane of most fleets; one of several lanes has it too, since the marks in every file of a
#: store are its own. Frozen.
ONLY_LANE = "lane-0"

_MASK = (1 << 64) - 1
#: Between a name and what makes its key hash as wanted. No target has it in its name.
_SALT = "\n"


def lane_names(lanes: int) -> list[str]:
    """Return the names of lanes; their order as texts is that of their numbers.

    >>> lane_names(2), lane_names(12)[-2:]
    (['lane-0', 'lane-1'], ['lane-10', 'lane-11'])
    >>> lane_names(12)[0]
    'lane-00'
    """
    digits = len(str(lanes - 1))
    return [f"lane-{number:0{digits}}" for number in range(lanes)]


def lane_keys(lanes: int) -> list[str]:
    r"""Return the key of the stages of each lane, which belongs to the worker that reads the lane.

    One of them is `ONLY_LANE`, that of the worker on which its hash puts it.

    >>> lane_keys(1), lane_keys(3)
    (['lane-0'], ['lane-0\n0', 'lane-1\n0', 'lane-0'])
    """
    marked = worker_of(ONLY_LANE, lanes)
    names = enumerate(lane_names(lanes))
    return [ONLY_LANE if number == marked else placed(name, number, lanes) for number, name in names]


def worker_of(key: str, workers: int) -> int:
    """Return the number of the worker on which the engine does the work of a key.

    >>> [worker_of(key, 3) for key in ("k0", "k1", "k2", "k3")]
    [1, 1, 0, 0]
    """
    return _siphash(key.encode() + b"\xff") % workers


def placed(name: str, worker: int, workers: int) -> str:
    r"""Return a key of a name that belongs to a worker: the name itself where that does, else with a salt.

    >>> placed("k0", 1, 3), placed("k0", 0, 3), worker_of(placed("k0", 0, 3), 3)
    ('k0', 'k0\n0', 0)
    """
    keys = chain((name,), (f"{name}{_SALT}{salt}" for salt in count()))
    return next(key for key in keys if worker_of(key, workers) == worker % workers)


def name_of(key: str) -> str:
    r"""Return the name of a key that `placed` made.

    >>> name_of("lane-1\n3"), name_of("lane-1")
    ('lane-1', 'lane-1')
    """
    return key.partition(_SALT)[0]


def _siphash(data: bytes) -> int:
    """SipHash-1-3 with a key of zeros, the engine's hash (J.-P. Aumasson and D. J. Bernstein, 2012)."""
    state = [0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573]
    words = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for start in range(0, len(words), 8):
        word = int.from_bytes(words[start : start + 8], "little")
        state[3] ^= word
        _mix(state)
        state[0] ^= word
    state[2] ^= 0xFF
    for _ in range(3):
        _mix(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _mix(state: list[int]) -> None:
    a, b, c, d = state
    a = (a + b) & _MASK
    b = _turned(b, 13) ^ a
    a = _turned(a, 32)
    c = (c + d) & _MASK
    d = _turned(d, 16) ^ c
    a = (a + d) & _MASK
    d = _turned(d, 21) ^ a
    c = (c + b) & _MASK
    b = _turned(b, 17) ^ c
    state[:] = a, b, _turned(c, 32), d


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _MASK
