"""Kafka under fire: a dataflow from topic to topics is killed, and so is the broker.

    python -m tests.chaos.kafka --seed 7 --kills 30 --broker-kills 3
    python -m tests.chaos.kafka --processes 2,1,2 --topics many

Telemetry, failures and maintenance come at a steady rate in one topic, keyed by asset; or, with ``--topics
many``, failures and weather in topics of their own. The dataflow is killed with -9 at moments drawn by
chance, the broker is killed and started again. In the end the topics of the outputs have to hold what an
unbroken replay of the order journal gives, row by row, and nothing twice. With several processes models may
learn in another order, so scores may differ from those of the replay; `account` says what has to hold there.
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tests.broker import brokers
from tests.chaos.account import (
    Cut,
    account,
    against_timestamps,
    assert_topics_equal_replay,
    cut_by_kill,
    divergence,
)
from tests.chaos.harness import eventually
from tests.chaos.rig import LAYOUTS, Producing, Rig, messages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from subprocess import Popen

    from tests.broker import Broker

__all__ = ["chaos"]

#: Records a second; one of the stream's own seconds has about seven.
RATE = 100
#: Seconds of the stream for each kill: more than are sent until the next.
_SECONDS = 2_000


def chaos(
    folder: Path,
    broker: Broker,
    *,
    seed: int,
    kills: int,
    broker_kills: int,
    processes: Sequence[int] = (1,),
    layout: str = "one",
) -> dict[str, Any]:
    """Run, kill, compare; returns what happened.

    Args:
        folder: for the fleet, its recovery store and what is compared.
        broker: where the topics are.
        seed: of all that is drawn by chance.
        kills: of runs.
        broker_kills: of the broker, while a run goes on.
        processes: how many the runs have, one run after the other, from the first again after the last.
        layout: of the input, one of `LAYOUTS`.
    """
    chance = random.Random(seed)
    rig = Rig(folder, broker.bootstrap, f"chaos{seed}-{time.time_ns()}", layout=layout)
    rig.make()
    found = messages(folder, _SECONDS * (1 + kills + broker_kills), seed, layout)
    producing = Producing(rig, found, RATE)
    producing.start()
    begun = time.monotonic()
    cuts = [*_fire(rig, broker, chance, (kills, broker_kills), processes)]
    assert producing.is_alive(), "the load ended before the last kill"
    producing.end()
    producing.done()
    # The last is sent when the last run has begun.
    sent = found[: producing.sent + 1]
    rig.finish(sent)
    told = {"broker": broker.what, "seed": seed, "records": len(sent), "kills": kills}
    told |= {"broker_kills": broker_kills, "seconds": round(time.monotonic() - begun)}
    if layout != "one":
        told["ordered"] = against_timestamps(rig)
    if max(processes) > 1:
        return told | account(rig, cuts)
    counts = assert_topics_equal_replay(rig)
    output = divergence(rig)
    assert output["resume_divergence"] == 0, output
    return told | {"rows": counts, "ids_missing": 0, "ids_twice": 0, **output}


def _fire(
    rig: Rig, broker: Broker, chance: random.Random, kills: tuple[int, int], processes: Sequence[int]
) -> Iterator[Cut]:
    """Kill runs, and the broker in between; what each kill of a run cut."""
    what = ["run"] * kills[0] + ["broker"] * kills[1]
    chance.shuffle(what)
    for number in itertools.cycle(processes):
        if not what:
            return
        with _started(rig, number, chance) as running:
            _wait(rig, chance, running)
            while what and what[0] == "broker":
                what.pop(0)
                broker.kill()
                time.sleep(chance.random() * 2)
                broker.start()
                time.sleep(chance.random())
            for process in running:
                assert process.poll() is None, rig.log()
            if what:
                what.pop(0)
            chance.shuffle(running)
            running[0].kill()
            if len(running) > 1 and chance.random() < 0.5:
                # The others go on for a moment without it.
                time.sleep(chance.random() / 2)
        yield cut_by_kill(rig)


def _started(rig: Rig, number: int, chance: random.Random) -> AbstractContextManager[list[Popen[bytes]]]:
    batch = chance.choice([1, 20, 200])
    if number == 1:
        return rig.alone(batch=batch)
    return rig.cluster(number, batch=batch, epoch=chance.choice([0, 1]))


def _wait(rig: Rig, chance: random.Random, running: list[Popen[bytes]]) -> None:
    """Until a kill is due: some while a run begins, most when it is at work, soon or later."""
    if chance.random() < 0.2:
        time.sleep(chance.random() * 3)
        return
    goal = rig.chosen() + chance.randrange(20, 300)
    eventually(lambda: rig.chosen() > goal, running[0])
    time.sleep(chance.random() * chance.choice([0.2, 2]))


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--broker-kills", type=int, default=3)
    parser.add_argument(
        "--processes",
        default="1",
        help="of one run after the other, such as 2,1,2, and so on",
    )
    parser.add_argument(
        "--topics",
        choices=[*LAYOUTS],
        default="one",
        help="many: failures and weather apart",
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, brokers(Path(folder) / "broker") as broker:
        for what, why in broker.lacks.items():
            if what != "kill" or asked.broker_kills:
                parser.error(f"{broker.what} does not serve: {why}")
        found = chaos(
            Path(folder) / "run",
            broker,
            seed=asked.seed,
            kills=asked.kills,
            broker_kills=asked.broker_kills,
            processes=[int(number) for number in asked.processes.split(",")],
            layout=asked.topics,
        )
        print(orjson.dumps(found).decode())  # noqa: T201


if __name__ == "__main__":
    main()
