import { TopKError } from '@topk-attention/core';
import { PieceTrie, ROOT } from './piece-trie.js';

/** Pieces with their log probabilities; the number of a piece is its id. */
export interface UnigramVocabulary {
  readonly pieces: readonly string[];
  readonly scores: readonly number[];
  /** Id of text that no piece covers; without it such text is an error. */
  readonly unknownId: number | undefined;
  /** Text that no piece covers becomes its UTF-8 bytes, as the pieces <0x00> to <0xFF>. */
  readonly byteFallback: boolean;
}

/** How far the score of an unknown character is below that of the worst piece. */
const UNKNOWN_PENALTY = 10;

/** Code units between two yields: a few milliseconds of work. */
const STRIDE = 16_384;

/** Score of a position that no path has reached yet. */
const NONE = -1;

/** Best paths to each position of a text: score, where the last piece begins, and its id. */
class Paths {
  readonly score: Float64Array;
  readonly begin: Int32Array;
  readonly id: Int32Array;

  constructor(length: number) {
    this.score = new Float64Array(length + 1);
    this.begin = new Int32Array(length + 1);
    this.id = new Int32Array(length + 1);
  }

  /** Clears the paths, for a text of `length`. */
  reset(length: number): void {
    this.id.fill(NONE, 0, length + 1);
    this.score[0] = 0;
  }

  /** Records a path to `end` whose last piece starts at `begin`, if it is better than the present one. */
  offer(end: number, begin: number, score: number, id: number): void {
    if (this.id[end] !== NONE && score <= (this.score[end] as number)) return;
    this.score[end] = score;
    this.begin[end] = begin;
    this.id[end] = id;
  }
}

/**
 * The unigram model of SentencePiece: of all ways to split a text into pieces, the one with the largest sum of scores; ties go,
 * at each position, to the longest last piece. Time and memory are linear in the text. Scores are summed in f64 from the
 * left, as in the Rust library, so ids are the same.
 */
export class Unigram {
  readonly #scores: readonly number[];
  readonly #ids: ReadonlyMap<string, number>;
  readonly #trie: PieceTrie;
  readonly #unknownId: number | undefined;
  readonly #unknownScore: number;
  readonly #longestPiece: number;
  /** Id of each byte; undefined without byte fallback. */
  readonly #byteIds: readonly (number | undefined)[] | undefined;
  /** Reused for texts of up to one stride, which are never interrupted. */
  readonly #shortPaths = new Paths(STRIDE);

  constructor({ pieces, scores, unknownId, byteFallback }: UnigramVocabulary) {
    const ids = new Map(pieces.map((piece, id) => [piece, id]));
    this.#scores = scores;
    this.#ids = ids;
    this.#trie = new PieceTrie(pieces);
    this.#unknownId = unknownId;
    this.#unknownScore = scores.reduce((least, score) => Math.min(least, score), Infinity) - UNKNOWN_PENALTY;
    this.#longestPiece = pieces.reduce((most, { length }) => Math.max(most, length), 0);
    this.#byteIds = byteFallback
      ? Array.from({ length: 256 }, (_, byte) =>
          ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
        )
      : undefined;
  }

  /**
   * Appends the ids of a text to `ids`. In a long text it yields the number of code units done, every few milliseconds; other
   * texts may be encoded in between.
   *
   * @throws TopKError INVALID_OPTION for a character without a piece in a vocabulary without an unknown id.
   */
  *encode(text: string, ids: number[]): Generator<number, void> {
    const paths = text.length <= STRIDE ? this.#shortPaths : new Paths(text.length);
    paths.reset(text.length);
    let position = this.#extend(text, paths, 0, STRIDE);
    while (position < text.length) {
      yield position;
      position = this.#extend(text, paths, position, position + STRIDE);
    }
    this.#collect(text, paths, ids);
  }

  /** Extends the best paths by every piece that starts at or after `from` and before `end`. Returns where it stopped. */
  #extend(text: string, paths: Paths, from: number, end: number): number {
    const trie = this.#trie;
    const { length } = text;
    let at = from;
    for (const stop = Math.min(end, length); at < stop; ) {
      const score = paths.score[at] as number;
      const next = at + ((text.codePointAt(at) as number) > 0xffff ? 2 : 1);
      let isKnown = false;
      let node = ROOT;
      for (let to = at; to < length; ) {
        node = trie.step(node, text.charCodeAt(to++));
        if (node === -1) break;
        const piece = trie.pieceAt(node);
        if (piece === -1) continue;
        paths.offer(to, at, score + (this.#scores[piece] as number), piece);
        if (to === next) isKnown = true;
      }
      if (!isKnown) {
        if (this.#unknownId === undefined) throw unknownCharacter(text.slice(at, next));
        paths.offer(next, at, score + this.#unknownScore, this.#unknownId);
      }
      at = next;
    }
    return at;
  }

  /** The ids along the best path. Adjacent unknown characters become one unknown id. */
  #collect(text: string, { begin, id }: Paths, ids: number[]): void {
    const backwards: number[] = [];
    let end = text.length;
    while (end > 0) {
      let start = begin[end] as number;
      if (id[end] === this.#unknownId) {
        while (start > 0 && id[start] === this.#unknownId) start = begin[start] as number;
        for (const one of this.#unknown(text.slice(start, end)).reverse()) backwards.push(one);
      } else {
        backwards.push(id[end] as number);
      }
      end = start;
    }
    for (let index = backwards.length - 1; index >= 0; index--) ids.push(backwards[index] as number);
  }

  #unknown(text: string): number[] {
    const known = text.length <= this.#longestPiece ? this.#ids.get(text) : undefined;
    if (known !== undefined) return [known];
    const byteIds = this.#byteIds;
    if (byteIds !== undefined) {
      const bytes = Array.from(new TextEncoder().encode(text), (byte) => byteIds[byte]);
      const all = bytes.filter((one) => one !== undefined);
      if (all.length === bytes.length) return all;
    }
    return [this.#unknownId as number];
  }
}

function unknownCharacter(character: string): TopKError {
  return new TopKError('INVALID_OPTION', 'encode: a character is not in the vocabulary', {
    expected: 'text that its pieces cover, because it has no unk_id',
    got: JSON.stringify(character),
  });
}
