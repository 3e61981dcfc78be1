"""Texts that make trouble for tokenizers, and small vocabularies made from them."""

CORPUS = """
Who went to the garden? Mary went to the kitchen. John moved to the garden and then travelled to the office.
The café near the old harbour opened in 1987; its owner, Zoë Müller, still works there every morning.
Unaffordable prices are unusual, but the unhappiest customers never complained about them again.
Memory falls by chunking: queries are processed in chunks, and only the largest scores are kept for each query.
Where was the river crossed by the travellers who came from the northern mountains in the eighteenth century?
"""

TEXTS = [
    "", " ", "a", "Who went to the garden?", "  Mary   went\tto\n\nthe kitchen.  ", "unaffordable unhappiest unusually",
    "The café, the cafe\u0301 and the CAFE\u0301!", "Zoë Müller — naïve façade", "\u00c5ngstr\u00f6m \u212b \u0041\u030a",
    "\u039f\u0394\u039f\u03a3 \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2", "\u0130stanbul \u0131\u015f\u0131k I\u0307", "stra\u00dfe STRA\u1e9eE",
    "\u4e2d\u6587\u548cEnglish\u6df7\u5408", "\u3053\u3093\u306b\u3061\u306f \u4e16\u754c", "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
    "\U00020000\U0002a6df\U0002f800x", "\U0001f44d ok \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "a\u200bb\u200cc\u00adde\ufeffg", "x\u0000y\u0001z\ufffdw\u007fv\u0085u", "no\u00a0break\u2003em\u3000ideographic\u2028line",
    "e\u0301\u0327o\u0308\u0304", "\u0301leading mark", "\u1e69\u1e9b\u0323 \u0344", "\u0915\u094d\u0937\u093f \u0e19\u0e49\u0e33 \u05e9\u05b8\u05dc\u05d5\u05b9\u05dd \u0645\u064f\u062d\u0645\u0651\u062f",
    "don't we've I'LL she'd they're", "100% $5.00 #tag @user a_b-c/d\\e", "``quotes'' \u00abguillemets\u00bb \u2018single\u2019 \u201cdouble\u201d",
    "\u2116 \u2122 \u00bd \u2460 \ufb01 \u01c6", "[CLS] in the [SEP] text [MASK]", "the[MASK]garden <mask> to <s>the</s>  <pad>", "x <mask>", "   <mask>   the",
    "[cls] [Mask]", "a" * 120 + " b", "\U0001d400\U0001d41a \U0001d7d8 \U000e0041", "\u2060\u180e\u061c\u2066x\u2069", "trailing  ", "\n\n", "\u0301",
    "he\u0300\u0316llo w\u0302\u0323orld", "\uac01\u11a8 \u1100\u1161\u11a8", "\u0958\u095c \u0dda \u0b4b", "\u037e\u0387\u1fef`\u2126",
    "\u0f73\u0f75\u0f81 \u0fb9", "x\u20d7y\u20dd \u0488z\u0489", "\u1e2e\u1e2f\u01d7 \u1eb6\u1ed8", "a\u0315\u0300\u05ae\u0062", "\u200d\u200d", "A\u030aB\u0327C",
    "1,000.50 3.14e-10 v1.2.3", "http://example.com/a?b=c&d=e", "line one\r\nline two\rline three", "tab\tseparated\tvalues", "\ud7b0\ud7cb\ua960",
]


def word_pieces(lowercase):
    """A vocabulary of specials, characters, words of the corpus and the pieces of some."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    corpus = CORPUS.replace("é", "e").replace("ë", "e").replace("ü", "u").lower() if lowercase else CORPUS
    words = "".join(c if c.isalnum() else " " for c in corpus).split()
    counts = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    frequent = sorted((w for w in counts if len(w) > 1), key=lambda w: (-counts[w], w))[:60]
    letters = sorted({c for c in "".join(words)} | set("abcdefghijklmnopqrstuvwxyz0123456789οδσςíş中和世😀") | (set() if lowercase else set("ABCDEFGHIJKLMNOPQRSTUVWXYZéëüÅ")))
    marks = list(".,;:?!'\"-—%$#@_/\\&=`«»‘’“”()[]")
    endings = [f"##{e}" for e in ("able", "est", "ing", "ed", "ly", "ually", "afford", "happi", "er", "s")]
    return specials + marks + letters + [f"##{c}" for c in letters] + frequent + ["un"] + endings


def byte_pairs(byte_of, count):
    """`count` merges of the corpus over bytes as characters: the most frequent pair, and of those the first by text."""
    import re

    words = {}
    for word in re.findall(r" ?[^\W\d_]+| ?\d+| ?[^\s\w]+|\s+", CORPUS):
        key = tuple(byte_of[b] for b in word.encode())
        words[key] = words.get(key, 0) + 1
    merges = []
    for _ in range(count):
        pairs = {}
        for word, times in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] = pairs.get(pair, 0) + times
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        joined = {}
        for word, times in words.items():
            out, at = [], 0
            while at < len(word):
                if word[at:at + 2] == best:
                    out.append(best[0] + best[1])
                    at += 2
                else:
                    out.append(word[at])
                    at += 1
            joined[tuple(out)] = joined.get(tuple(out), 0) + times
        words = joined
    return merges
