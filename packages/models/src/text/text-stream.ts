import type { TextTokenizer } from './tokenizer.js';

/** Text that grows token by token: what each token adds. */
export class TextStream {
  readonly #tokenizer: TextTokenizer | undefined;
  readonly #isSpecial: (id: number) => boolean;
  readonly #ids: number[] = [];
  #emitted = '';

  constructor(tokenizer: TextTokenizer | undefined, isSpecial: (id: number) => boolean) {
    this.#tokenizer = tokenizer;
    this.#isSpecial = isSpecial;
  }

  /** The text emitted so far; after the last token, the whole text. */
  get text(): string {
    return this.#emitted;
  }

  /** The text that the token adds. An incomplete character is held until its last byte arrives, or until the `last` token. */
  push(id: number, last: boolean): string {
    if (this.#tokenizer === undefined) return '';
    if (!this.#isSpecial(id)) this.#ids.push(id);
    const text = this.#tokenizer.decode(this.#ids);
    if (!last && text.endsWith('\uFFFD')) return '';
    // A decoder may rewrite its last word; only text that extends what was emitted can follow.
    if (!text.startsWith(this.#emitted)) return '';
    const added = text.slice(this.#emitted.length);
    this.#emitted = text;
    return added;
  }
}
