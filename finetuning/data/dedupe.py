"""Near-duplicate texts, found without comparing all pairs.

A text is the set of its four-letter groups; two texts are alike by the Jaccard index of their sets. Candidates agree in a band of
MinHash values (Broder, "On the resemblance and containment of documents", 1997; banding: Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", 3.4). Each candidate is then bounded by bitmaps and compared exactly, so what is reported is never a guess.
"""

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assistant.core.facts import normalise

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

GROUP = 4
# Longer texts are judged by their beginning; very many texts by a shorter one, so that memory stays bounded.
MOST_CHARACTERS = 1000
MOST_CHARACTERS_TOGETHER = 40_000_000
BITMAP_WORDS = 16
# A pair that is just alike enough is overlooked in at most one of a thousand cases.
MOST_MISSED = 0.001
MOST_HASHES = 100
# In a bucket of nearly equal texts each is compared with so many others, in a crowded one with fewer: enough to join them all.
MOST_NEIGHBOURS = 16
CROWDED_NEIGHBOURS = 3
PAIRS_AT_ONCE = 100_000
MEMBERS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts that are nearly the same, by their places, the earlier first; ``likeness`` from 0 to 1."""

    first: int
    second: int
    likeness: float


@dataclass(frozen=True, slots=True)
class _Sets:
    """The group sets of all texts in one array: text ``i`` owns ``starts[i] : starts[i + 1]``, sorted."""

    groups: "Array"
    starts: "Array"
    sizes: "Array"


def near_duplicates(texts: Sequence[str], threshold: float, parts: Sequence[int] | None = None) -> list[Pair]:
    """The pairs at least as alike as ``threshold``. With ``parts`` only pairs of two different parts (a leak between splits)."""
    import numpy as np

    if len(texts) < 2:
        return []
    sets = _sets([normalise(text) for text in texts])
    first, second = _candidates(sets, threshold, None if parts is None else np.asarray(parts, dtype=np.int64))
    bitmaps = _bitmaps(sets)
    found: list[Pair] = []
    for start in range(0, len(first), PAIRS_AT_ONCE):
        a, b = first[start : start + PAIRS_AT_ONCE], second[start : start + PAIRS_AT_ONCE]
        near = _bound(sets, bitmaps, a, b) >= threshold
        a, b = a[near], b[near]
        likeness = _likeness(sets, a, b)
        alike = np.flatnonzero(likeness >= threshold - 1e-9)
        found += [Pair(*pair) for pair in zip(a[alike].tolist(), b[alike].tolist(), likeness[alike].round(4).tolist(), strict=True)]
    return found


def clusters(count: int, pairs: Sequence[Pair]) -> list[int]:
    """For each of ``count`` texts the place of the first one that it is alike to, directly or through others."""
    root = list(range(count))

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for pair in pairs:
        one, other = find(pair.first), find(pair.second)
        root[max(one, other)] = min(one, other)
    return [find(place) for place in range(count)]


def bands(threshold: float) -> tuple[int, int]:
    """How many bands of how many hashes: the longest bands that still miss so few pairs at the threshold."""
    for length in range(8, 0, -1):
        count = MOST_HASHES // length
        if (1 - threshold**length) ** count <= MOST_MISSED:
            return count, length
    return MOST_HASHES, 1


def _sets(texts: list[str]) -> _Sets:
    import numpy as np

    most = max(100, min(MOST_CHARACTERS, MOST_CHARACTERS_TOGETHER // len(texts)))
    # Spaces around let a word's first and last letters count as such, and give the shortest text one group.
    framed = [f" {text[:most]} ".ljust(GROUP) for text in texts]
    lengths = np.array([len(text) for text in framed], dtype=np.int64)
    letters = np.frombuffer("".join(framed).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    owner = np.repeat(np.arange(len(texts), dtype=np.uint64), lengths)
    last = len(letters) - GROUP + 1
    hashes = np.zeros(last, dtype=np.uint32)
    for shift in range(GROUP):
        hashes = hashes * np.uint32(0x01000193) + letters[shift : last + shift]
    hashes = (hashes ^ (hashes >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    whole = owner[:last] == owner[GROUP - 1 :]
    # One number for (text, group): sorting it gives each text's set without repeats.
    members = np.sort((owner[:last][whole] << np.uint64(32)) | hashes[whole])
    members = members[np.concatenate(([True], members[1:] != members[:-1]))]
    sizes = np.bincount((members >> np.uint64(32)).astype(np.int64), minlength=len(texts))
    return _Sets(members.astype(np.uint32), np.concatenate(([0], np.cumsum(sizes))), sizes)


def _candidates(sets: _Sets, threshold: float, parts: "Array | None") -> "tuple[Array, Array]":
    """Pairs that agree in a band, the earlier text first, none twice."""
    import numpy as np

    count, length = bands(threshold)
    with ThreadPoolExecutor(2) as pool:
        keys = list(pool.map(lambda band: _band(sets, band, length), range(count)))
    pairs = np.unique(np.concatenate([pair for key in keys for pair in _same(key, parts)]))
    return pairs // len(sets.sizes), pairs % len(sets.sizes)


def _band(sets: _Sets, band: int, length: int) -> "Array":
    """One number a text that two texts share when all MinHash values of the band agree."""
    import numpy as np

    rng = random.Random(band)
    numbers = np.array([rng.getrandbits(32) for _ in range(2 * length)], dtype=np.uint32)
    key = np.zeros(len(sets.sizes), dtype=np.uint64)
    for place in range(length):
        least = np.empty(len(sets.sizes), dtype=np.uint32)
        for start, end in _chunks(sets):
            hashes = sets.groups[sets.starts[start] : sets.starts[end]] * (numbers[2 * place] | np.uint32(1)) + numbers[2 * place + 1]
            hashes ^= hashes >> np.uint32(16)
            hashes *= np.uint32(0x7FEB352D)
            hashes ^= hashes >> np.uint32(15)
            least[start:end] = np.minimum.reduceat(hashes, sets.starts[start:end] - sets.starts[start])
        key = (key ^ least) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


def _chunks(sets: _Sets) -> Iterator[tuple[int, int]]:
    """Runs of texts whose sets together fit a processor's cache."""
    import numpy as np

    start, count = 0, len(sets.sizes)
    while start < count:
        end = int(np.searchsorted(sets.starts, sets.starts[start] + MEMBERS_AT_ONCE, side="right")) - 1
        end = min(max(end, start + 1), count)
        yield start, end
        start = end


def _same(key: "Array", parts: "Array | None") -> "Iterator[Array]":
    """Pairs of texts with the same key as one number each."""
    import numpy as np

    count = len(key)
    # A fixed shuffle mixes the parts inside a large bucket, so that near neighbours come from different ones.
    shuffle = np.argsort(np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1), kind="stable")
    order = shuffle[np.argsort(key[shuffle], kind="stable")]
    key = key[order]
    alive = np.arange(count)
    crowded = np.searchsorted(key, key, side="right") - np.searchsorted(key, key) > MOST_NEIGHBOURS + 1
    for distance in range(1, MOST_NEIGHBOURS + 1):
        alive = alive[alive < count - distance]
        alive = alive[key[alive] == key[alive + distance]]
        if distance > CROWDED_NEIGHBOURS:
            alive = alive[~crowded[alive]]
        one, other = order[alive], order[alive + distance]
        if parts is not None:
            apart = parts[one] != parts[other]
            one, other = one[apart], other[apart]
        yield np.minimum(one, other) * count + np.maximum(one, other)


def _bitmaps(sets: _Sets) -> "Array":
    import numpy as np

    bits = BITMAP_WORDS * 64
    maps = []
    for start, end in _chunks(sets):
        owner = np.repeat(np.arange(end - start), sets.sizes[start:end])
        flat = np.zeros((end - start, bits), dtype=bool)
        flat[owner, sets.groups[sets.starts[start] : sets.starts[end]] % np.uint32(bits)] = True
        maps.append(np.packbits(flat, axis=1).view(np.uint64))
    return np.concatenate(maps)


def _bound(sets: _Sets, bitmaps: "Array", first: "Array", second: "Array") -> "Array":
    """At most so alike: each bit in which two bitmaps differ stands for at least one group that only one text has."""
    import numpy as np

    apart = np.bitwise_count(bitmaps[first] ^ bitmaps[second]).sum(axis=1, dtype=np.int64)
    both = sets.sizes[first] + sets.sizes[second]
    return (both - apart) / (both + apart)


def _likeness(sets: _Sets, first: "Array", second: "Array") -> "Array":
    import numpy as np

    keys = np.sort(np.concatenate((_members(sets, first), _members(sets, second))))
    twice = keys[1:][keys[1:] == keys[:-1]]
    shared = np.bincount((twice >> np.uint64(32)).astype(np.int64), minlength=len(first))
    return shared / (sets.sizes[first] + sets.sizes[second] - shared)


def _members(sets: _Sets, texts: "Array") -> "Array":
    import numpy as np

    sizes = sets.sizes[texts]
    pair = np.repeat(np.arange(len(texts), dtype=np.uint64), sizes)
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return (pair << np.uint64(32)) | sets.groups[np.repeat(sets.starts[texts], sizes) + inside]
