import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { exactPath } from './exact/exact-path.js';
import { COUNTER_WORDS, COUNTERS } from './shared/counters.js';
import type { ForwardPath } from './shared/forward-path.js';
import { storedPath } from './stored/stored-path.js';
import { sweepsPathWith } from './sweeps/sweeps-path.js';
import { tensorPath } from './tensor/tensor-path.js';

/** What the paths with candidate lists have met since the last call: how well a list decided a row. */
export interface SelectionCounts {
  /**
   * Rows selected again from all of their scores because their list did not decide. Never a wrong set, only more time.
   */
  readonly slowRows: number;
  /** Of these, rows whose list was too long. */
  readonly longLists: number;
  /** Mean length of the lists of every 32nd row; NaN when no list was made. */
  readonly meanList: number;
  /** The longest of those. */
  readonly longestList: number;
}

/** Counters that the paths add to. */
export class SelectionCounter {
  /**
   * Every path, the fastest first, counting, but for the one of short inputs, which makes no lists: the sweeps take
   * these, with the same bits.
   */
  readonly paths: readonly ForwardPath[];
  readonly #stream: Stream;
  readonly #span: Span;

  constructor(stream: Stream) {
    this.#stream = stream;
    this.#span = stream.scratch(4 * COUNTER_WORDS);
    stream.clear(this.#span);
    const counters = this.#span;
    this.paths = [tensorPath(undefined, counters), sweepsPathWith({ counters }), storedPath, exactPath];
  }

  /** Counts since the last call. Waits for all work recorded so far. */
  async read(): Promise<SelectionCounts> {
    const bytes = await this.#stream.read(this.#span);
    this.#stream.clear(this.#span);
    const words = new Uint32Array(bytes.buffer);
    const at = (word: number): number => words[word] ?? 0;
    return {
      slowRows: at(COUNTERS.flagged),
      longLists: at(COUNTERS.overflowed),
      meanList: at(COUNTERS.sampledCounts) / at(COUNTERS.sampledRows),
      longestList: at(COUNTERS.longest),
    };
  }
}
