import { TopKError } from '@topk-attention/core';

/** Whole characters of more bytes are mapped code point by code point. */
const CLUSTER_BYTES = 6;

/** Code units that are searched for the ends of characters at a time. */
const WINDOW = 256;

/** Printable ASCII, but for a last one that what follows may join. */
const PLAIN = /[ -~]+(?=[ -~]|$)/y;

/** Mappings that are remembered: the characters of a text repeat. */
const REMEMBERED = 8192;

/**
 * Code points that never join a neighbour of their kind: between two of them a character ends, except between carriage
 * return and line feed. Most text consists of them, and finding the ends of others is slow.
 */
const loners: readonly (readonly [from: number, to: number])[] = [
  [0x0000, 0x02ff],
  [0x0370, 0x0482],
  [0x048a, 0x0590],
  [0x1e00, 0x200a],
  [0x2010, 0x2027],
  [0x2030, 0x205f],
  [0x2070, 0x20cf],
  [0x2100, 0x2bff],
  [0x3000, 0x3029],
  [0x3030, 0x3098],
  [0x309b, 0xa66e],
];

/**
 * The normalisation that SentencePiece stores with a model: a trie of UTF-8 texts (a double array of Darts-clone), and what
 * each becomes. Characters are mapped as the Rust library of tokenizers does: a whole one of few bytes by the shortest
 * text in the trie that it begins with, else each of its code points.
 */
export class Charsmap {
  readonly #trie: Uint32Array;
  readonly #texts: Uint8Array;
  /** Whether printable ASCII stays as it is. */
  readonly #keepsPlain: boolean;
  readonly #remembered = new Map<string, string>();
  /** Made when a text needs it. */
  #segmenter: Intl.Segmenter | undefined;

  /** @throws TopKError FILE_CORRUPT */
  constructor(bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const size = bytes.length < 4 ? -1 : view.getUint32(0, true);
    if (size < 4 || size % 4 !== 0 || size > bytes.length - 4) {
      throw new TopKError('FILE_CORRUPT', 'tokenizer: bad precompiled_charsmap', {
        expected: 'a trie of 4 bytes and more, and texts',
        got: `${size} of ${bytes.length} bytes`,
        fix: 'Use the tokenizer that belongs to the model',
      });
    }
    this.#trie = Uint32Array.from({ length: size / 4 }, (_, at) => view.getUint32(4 + 4 * at, true));
    this.#texts = bytes.subarray(4 + size);
    this.#keepsPlain = Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at)).every(
      (one) => this.#mapped(one) === one,
    );
  }

  normalize(text: string): string {
    let result = '';
    for (let at = 0; at < text.length; ) {
      if (this.#keepsPlain) {
        PLAIN.lastIndex = at;
        const [run = ''] = PLAIN.exec(text) ?? [];
        result += run;
        at += run.length;
        if (at === text.length) break;
      }
      const end = nextEnd(text, at);
      if (end - at === 1) result += this.#mapped(text.charAt(at));
      else for (const cluster of this.#clustersOf(text.slice(at, end))) result += this.#mapped(cluster);
      at = end;
    }
    return result;
  }

  /** Whole characters of a text. The segmenter takes time with the square of the length, so it gets windows. */
  *#clustersOf(text: string): Generator<string, void> {
    this.#segmenter ??= new Intl.Segmenter('und', { granularity: 'grapheme' });
    let window = WINDOW;
    for (let at = 0; at < text.length; ) {
      const clusters = Array.from(this.#segmenter.segment(text.slice(at, at + window)), (one) => one.segment);
      // The last one may go on behind the window.
      if (at + window < text.length) clusters.pop();
      window = clusters.length === 0 ? 2 * window : WINDOW;
      for (const cluster of clusters) {
        yield cluster;
        at += cluster.length;
      }
    }
  }

  #mapped(cluster: string): string {
    const known = this.#remembered.get(cluster);
    if (known !== undefined) return known;
    const mapped =
      this.#found(cluster, CLUSTER_BYTES) ??
      Array.from(cluster, (one) => this.#found(one, Infinity) ?? one).join('');
    // A text in a script of many characters must not fill the memory.
    if (this.#remembered.size >= REMEMBERED) this.#remembered.clear();
    this.#remembered.set(cluster, mapped);
    return mapped;
  }

  /** What the shortest text in the trie that begins `text` becomes; undefined if there is none. */
  #found(text: string, belowBytes: number): string | undefined {
    const bytes = new TextEncoder().encode(text);
    if (bytes.length >= belowBytes) return undefined;
    const trie = this.#trie;
    let node = offsetOf(trie[0] as number);
    for (const byte of bytes) {
      // A broken trie may point anywhere: what lies beyond it has no label.
      node ^= byte;
      const unit = trie[node];
      if (unit === undefined || byte === 0 || labelOf(unit) !== byte) return undefined;
      node ^= offsetOf(unit);
      if ((unit & 0x100) === 0) continue;
      const leaf = trie[node];
      return leaf === undefined ? undefined : this.#text(leaf & 0x7fffffff);
    }
    return undefined;
  }

  /** The text that begins at a place, up to the zero that ends it. */
  #text(begin: number): string {
    const end = this.#texts.indexOf(0, begin);
    return new TextDecoder().decode(this.#texts.subarray(begin, end === -1 ? undefined : end));
  }
}

/** Where the stretch from `at` ends that has to be looked at as a whole. */
function nextEnd(text: string, at: number): number {
  let isBefore = isLoner(text.charCodeAt(at));
  for (let end = at + 1; end < text.length; end++) {
    const unit = text.charCodeAt(end);
    const isOne = isLoner(unit);
    if (isBefore && isOne && !(unit === 0x0a && text.charCodeAt(end - 1) === 0x0d)) return end;
    isBefore = isOne;
  }
  return text.length;
}

function isLoner(unit: number): boolean {
  return unit < 0x300 || loners.some(([from, to]) => unit >= from && unit <= to);
}

function labelOf(unit: number): number {
  return unit & 0x800000ff;
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}
