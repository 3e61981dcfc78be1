import { stopIn } from './stop-strings.js';
import type { TextTokenizer } from './tokenizer.js';

/** Text that grows token by token: what each token adds, up to the first of the stop strings. */
export class TextStream {
  readonly #tokenizer: TextTokenizer | undefined;
  readonly #isSpecial: (id: number) => boolean;
  readonly #stopStrings: readonly string[];
  readonly #ids: number[] = [];
  #emitted = '';
  #isStopped = false;

  constructor(
    tokenizer: TextTokenizer | undefined,
    isSpecial: (id: number) => boolean,
    stopStrings: readonly string[] = [],
  ) {
    this.#tokenizer = tokenizer;
    this.#isSpecial = isSpecial;
    this.#stopStrings = stopStrings;
  }

  /** The text emitted so far; after the last token, the whole text. */
  get text(): string {
    return this.#emitted;
  }

  /** Whether a stop string has come, which ends the text in front of it. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /**
   * The text that the token adds. An incomplete character, and what may be the beginning of a stop string, is held until
   * the next bytes arrive, or until the `last` token.
   */
  push(id: number, last: boolean): string {
    if (this.#tokenizer === undefined) return '';
    if (!this.#isSpecial(id)) this.#ids.push(id);
    const text = this.#tokenizer.decode(this.#ids);
    const { end, isStopped } = stopIn(text, this.#stopStrings, this.#emitted.length);
    this.#isStopped = isStopped;
    if (!last && !isStopped && text.endsWith('\uFFFD')) return '';
    // A decoder may rewrite its last word; only text that extends what was emitted can follow.
    if (!text.startsWith(this.#emitted)) return '';
    const whole = last && !isStopped ? text : text.slice(0, end);
    const added = whole.slice(this.#emitted.length);
    this.#emitted = whole;
    return added;
  }
}
