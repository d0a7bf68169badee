"""What the outlier criteria need to know of one hook point, taken exactly from one text or from a StatStream."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int

from analysis.magnitudes import row_medians
from analysis.stat_stream import Keep, StatStream
from analysis.top_entries import TopEntries
from capture.hook_point import HookPoint

ENTRIES_OF_A_TEXT = Keep(top_k=1024, quantiles=False)
ENTRIES_OF_A_SET = Keep(top_k=512)


@dataclass(frozen=True)
class SiteStatistics:
    """Statistics over the tokens seen at a hook point; medians are of magnitudes.

    `first_share` is the share of the sum of squares that lies at position 0. `by_value` and `by_ratio` hold the entries
    that are largest, and largest against the median of their own token.
    """

    at: HookPoint
    n_tokens: int
    median: float
    kurtosis: float
    first_share: float
    mean: Float[np.ndarray, "d"]
    mean_square: Float[np.ndarray, "d"]
    channel_kurtosis: Float[np.ndarray, "d"]
    channel_median: Float[np.ndarray, "d"]
    positive_share: Float[np.ndarray, "d"]
    large_share: Float[np.ndarray, "d"]
    abs_max: Float32[np.ndarray, "d"]
    abs_max_text: Int[np.ndarray, "d"]
    abs_max_pos: Int[np.ndarray, "d"]
    by_value: TopEntries
    by_ratio: TopEntries

    @property
    def norm_share(self) -> Float[np.ndarray, "d"]:
        """Each channel's share of the sum of squares over all tokens; 0 where everything is 0."""
        total = self.mean_square.sum()
        return self.mean_square / total if total > 0 else np.zeros_like(self.mean_square)

    @property
    def channel_ratio(self) -> Float[np.ndarray, "d"]:
        """Each channel's median over tokens as a multiple of the median channel's; 0 where that median is 0."""
        middle = float(np.median(self.channel_median))
        return self.channel_median / middle if middle > 0 else np.zeros_like(self.channel_median)


def statistics_of_text(at: HookPoint, x: Float32[np.ndarray, "pos d"], text: int = 0) -> SiteStatistics:
    """The statistics of one text's rows, with exact medians."""
    stream = StatStream(at, ENTRIES_OF_A_TEXT)
    stream.update(x, np.full(len(x), text), np.arange(len(x)))
    magnitude = np.abs(x)
    channel = row_medians(np.ascontiguousarray(magnitude.T)).astype(np.float64)
    return _statistics(stream, float(np.median(magnitude)), channel)


def statistics_of_stream(stream: StatStream) -> SiteStatistics:
    """The statistics that a StatStream with quantiles gathered; medians to the width of its bins."""
    return _statistics(stream, stream.median_magnitude(), stream.channel_medians())


def _statistics(stream: StatStream, median: float, channel_median: Float[np.ndarray, "d"]) -> SiteStatistics:
    seen = stream.seen
    if seen is None or seen.values is None or seen.ratios is None:
        raise ValueError(f"No rows with their entries were kept at {stream.at}.")
    n = seen.moments.n
    total = float(seen.moments.mean_square.sum()) * n
    return SiteStatistics(
        at=stream.at,
        n_tokens=n,
        median=median,
        kurtosis=seen.moments.kurtosis_of_all(),
        first_share=seen.first_square / total if total > 0 else 0.0,
        mean=seen.moments.mean,
        mean_square=seen.moments.mean_square,
        channel_kurtosis=seen.moments.kurtosis(),
        channel_median=channel_median,
        positive_share=seen.n_positive / n,
        large_share=seen.n_large / n,
        abs_max=seen.abs_max,
        abs_max_text=seen.abs_max_text,
        abs_max_pos=seen.abs_max_pos,
        by_value=seen.values,
        by_ratio=seen.ratios,
    )
