"""The command line."""

import argparse
import concurrent.futures
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from . import machines, stories
from .lab import Lab
from .story import Story
from .tools import Failure, cache, forget_old, say


def main() -> int:
    """Returns the exit code."""
    options = _options()
    if options.list:
        for story in stories.ALL:
            print(f"{story.name()}: {(story.__doc__ or '').strip()}")
            for name in story.checks():
                print(f"    {name}")
        return 0
    # An interrupt or a kill ends the machines too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    forget_old()
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=cache()))
    say(f"seed {options.seed} (--seed {options.seed} cuts at the same moments)")
    try:
        lab = Lab(machines.ALL[options.arch], options.seed, folder)
        return _report(_tell(lab, _chosen(options.checks), options.jobs))
    except Failure as failure:
        print(f"device: {failure}", file=sys.stderr)
        return 1
    finally:
        if options.keep:
            say(f"media are kept in {folder}")
        else:
            shutil.rmtree(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/device/run", description="Boots a device under QEMU and checks it.")
    parser.add_argument("--arch", choices=machines.ALL, default="x86_64")
    parser.add_argument("--list", action="store_true", help="show all stories and checks")
    parser.add_argument("--keep", action="store_true", help="leave the media of the machines")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the moments of power cuts")
    parser.add_argument("--jobs", type=int, default=3, help="machines at a time; some of them mostly wait")
    parser.add_argument("checks", nargs="*", metavar="CHECK",
                        help="a story, or story:check, which runs the story up to that check")
    return parser.parse_args()


def _chosen(words: list[str]) -> list[tuple[type[Story], str | None]]:
    if not words:
        return [(story, None) for story in stories.ALL]
    by_name = {story.name(): story for story in stories.ALL}
    chosen = []
    for word in words:
        name, _, last = word.partition(":")
        if name not in by_name or (last and last not in by_name[name].checks()):
            raise Failure(f"no check {word!r}; --list shows them")
        chosen.append((by_name[name], last or None))
    return chosen


def _tell(lab: Lab, chosen: list[tuple[type[Story], str | None]], jobs: int) -> dict[str, list]:
    results = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool, contextlib.ExitStack() as stack:
        told = [story(lab) for story, _ in chosen]
        for story in told:
            stack.callback(lambda story=story: [vm.close() for vm in story.vms])
        waiting = {pool.submit(story.tell, last): story for story, (_, last) in zip(told, chosen, strict=True)}
        try:
            for done in concurrent.futures.as_completed(waiting):
                results[waiting[done].name()] = done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stack.close()
            raise
    return results


def _report(results: dict[str, list]) -> int:
    failed = [(story, name, error) for story, told in results.items() for name, error, _ in told if error]
    count = sum(len(told) for told in results.values())
    print()
    for story, told in results.items():
        print(f"{story}: {len(told)} checks in {sum(seconds for _, _, seconds in told):.0f} s")
    for story, name, error in failed:
        print(f"\nFAILED {story}:{name}\n{error}")
    print(f"\ndevice: {count - len(failed)} of {count} checks passed in {time.monotonic() - _START:.0f} s")
    return 1 if failed else 0


_START = time.monotonic()
