"""The figures as Markdown: medians over the rounds, how far the rounds lay apart, and ratios taken round by round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .workloads import BODY, Workload

DIRECT = "direct"
YARDSTICK = "yardstick"


@dataclass(frozen=True)
class Figures:
    """One run: one target under one workload in one round. `fault` is empty, or why it counts for nothing."""

    rate: float = 0.0  # units a second
    cpu: float = 0.0  # milliseconds of the gateway's for one unit
    p50: float = 0.0  # milliseconds
    p99: float = 0.0
    peak: float = 0.0  # megabytes
    waited: float = 0.0  # of the run's time, how much the gateway was ready but had no core
    fault: str = ""


Runs = Mapping[tuple[str, str], Sequence[Figures]]  # (workload, target) -> one for each round
Take = Callable[[Figures], float]


def spread(values: Sequence[float]) -> str:
    """The lowest and the highest, as percents off the median."""
    middle = statistics.median(values)
    if len(values) < 2 or middle == 0:
        return ""
    low, high = (f"{100 * (end / middle - 1):+.0f}" for end in (min(values), max(values)))
    return f" ({low} {high} %)".replace("-", "\N{MINUS SIGN}")


def figure(values: Sequence[float], *, relative: bool = True) -> str:
    """The median and the spread. A difference of two figures may be about zero, so its spread is in its own unit."""
    if not values:
        return "\N{EN DASH}"
    middle = statistics.median(values)
    text = f"{middle:,.0f}" if abs(middle) >= 100 else f"{middle:.3g}" if relative else f"{middle:.2f}"
    if relative:
        return text + spread(values)
    return text + (f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else "").replace("-", "\N{MINUS SIGN}")


def ratios(runs: Runs, workload: str, target: str, take: Take, *, inverse: bool = False) -> list[float]:
    """`target` over the yardstick, round by round: the two ran one after the other, so most of the noise falls out."""
    pairs = zip(runs.get((workload, target), ()), runs.get((workload, YARDSTICK), ()), strict=False)
    good = [(take(one), take(base)) for one, base in pairs if not one.fault and not base.fault]
    return [(base / one if inverse else one / base) * 100 for one, base in good if one and base]


def percent(values: Sequence[float]) -> str:
    if not values:
        return "\N{EN DASH}"
    apart = f" ({min(values):.0f} to {max(values):.0f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.0f} %{apart}"


def added(runs: Runs, workload: str, target: str, take: Take) -> list[float]:
    """Milliseconds over the upstream reached directly, round by round."""
    pairs = zip(runs.get((workload, target), ()), runs.get((workload, DIRECT), ()), strict=False)
    return [take(one) - take(base) for one, base in pairs if not one.fault and not base.fault]


def table(workload: Workload, targets: Mapping[str, str], runs: Runs) -> str:
    """One workload, a line for each target."""
    latency = workload.pause is not None
    large = len(workload.body) == BODY or len(workload.answer) == BODY
    one = {"requests": "a request", "streams": "a stream", "bodies": "a body"}[workload.unit]
    if latency:
        heads = ["target", "p50, ms", "p99, ms", "added p50, ms", "added p99, ms", "requests/s"]
    else:
        rate = "MB/s" if large else f"{workload.unit}/s"
        heads = ["target", rate, "of the yardstick's", f"CPU ms {one}", "work per CPU, of the yardstick's", "peak MB"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for name, title in targets.items():
        every = runs.get((workload.name, name), ())
        good = [run for run in every if not run.fault]
        cells = _latency(runs, workload, name, good) if latency else _work(runs, workload, name, good, large=large)
        failed = f" **{len(every) - len(good)} of {len(every)} runs failed**" if len(good) < len(every) else ""
        lines.append(f"| {title}{failed} | {' | '.join(cells)} |")
    pause = "" if workload.pause is None else ", each waits {} to {} ms between two requests".format(*workload.pause)
    return f"### {workload.title}\n\n{workload.clients} clients at once{pause}.\n\n" + "\n".join(lines) + "\n"


def _latency(runs: Runs, workload: Workload, name: str, good: Sequence[Figures]) -> list[str]:
    cells = [figure([run.p50 for run in good]), figure([run.p99 for run in good])]
    more = [added(runs, workload.name, name, take) for take in (lambda run: run.p50, lambda run: run.p99)]
    cells += ["" if name == DIRECT else figure(values, relative=False) for values in more]
    return [*cells, figure([run.rate for run in good])]


def _work(runs: Runs, workload: Workload, name: str, good: Sequence[Figures], *, large: bool) -> list[str]:
    cells = [figure([run.rate * (BODY / 1e6 if large else 1) for run in good])]
    cells.append(percent(ratios(runs, workload.name, name, lambda run: run.rate)))
    if name == DIRECT:
        return [*cells, "", "", ""]
    cells.append(figure([run.cpu for run in good]))
    cells.append(percent(ratios(runs, workload.name, name, lambda run: run.cpu, inverse=True)))
    return [*cells, figure([run.peak for run in good])]
