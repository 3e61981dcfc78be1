"""Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) in numpy.

The dropout masks of the library and the inputs of the golden cases both come from here: counters in, bits out, no
state, so a value never depends on the numpy version or on the order in which cases are made.
"""

import zlib

import numpy as np

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)

# Counter (4 words), key (2 words), expected output (4 words): kat_vectors of the Random123 distribution, philox4x32 10.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def philox(counter, key):
    """Ten rounds over broadcastable uint64 arrays that hold 32-bit words; returns the four output words."""
    c0, c1, c2, c3 = np.broadcast_arrays(*(np.asarray(c, np.uint64) & _LOW for c in counter))
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _32) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def random_bits(seed, offset, shape):
    """The words at the places offset + coordinates: axis a adds to number a, numbers past the rank take the offset.

    The word of a place (a, b, c, d) is word d mod 4 at the counter (a, b, c, d / 4). Every number wraps modulo 2^32 on its
    own, without carry. seed = (lo, hi). Returns uint32.
    """
    shape = tuple(shape)
    counter = [np.uint64(o) for o in offset]
    for axis, size in enumerate(shape):
        view = [1] * len(shape)
        view[axis] = size
        counter[axis] = (counter[axis] + np.arange(size, dtype=np.uint64).reshape(view)) & _LOW
    *first, last = counter
    words = np.choose((last & np.uint64(3)).astype(np.int64), philox((*first, last >> np.uint64(2)), seed))
    return np.broadcast_to(words, shape).astype(np.uint32)


def seed_words(seed):
    """The key of a seed, a whole number below 2^53: its low and its high 32 bits."""
    return seed & 0xFFFFFFFF, seed >> 32


def dropout_threshold(rate):
    """A weight is kept where its random word is at least this."""
    return int(np.floor(rate * 2.0**32))


class Draw:
    """A named stream of inputs. Values are exact in f16 unless asked otherwise, so every backend sees the same numbers."""

    def __init__(self, name, attempt=0):
        self.seed = (zlib.crc32(name.encode()), attempt)
        self.stream = 0

    def bits(self, shape):
        self.stream += 1
        count = int(np.prod(shape, dtype=np.int64)) if len(shape) else 1
        return random_bits(self.seed, (0, self.stream, 0, 0), (count,)).reshape(shape)

    def uniform(self, *shape):
        """Multiples of 1/256 in [-2, 2)."""
        return ((self.bits(shape) >> 22).astype(np.float64) - 512.0) / 256.0

    def uniform32(self, *shape):
        """Full 24-bit values in [-2, 2): exact in f32 only."""
        return (self.bits(shape) >> 8).astype(np.float64) / 2.0**22 - 2.0

    def integers(self, low, high, *shape):
        """Integers in [low, high], as float64."""
        return low + (self.bits(shape) % np.uint32(high - low + 1)).astype(np.float64)

    def booleans(self, keep, *shape):
        return self.bits(shape) >= np.uint32(dropout_threshold(1.0 - keep))


def check_known_answers():
    for counter, key, expected in KNOWN_ANSWERS:
        got = tuple(int(word) for word in philox(counter, key))
        assert got == expected, f"Philox4x32-10 of {counter}, key {key}: {got}, expected {expected}"
