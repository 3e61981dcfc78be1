import { TopKError } from '@topk-attention/core';
import { TextStream } from '../text/text-stream.js';
import type { TextTokenizer } from '../text/tokenizer.js';
import type { Limits, Strategy } from './strategy.js';

export interface GeneratedToken {
  /** Which source of a batch, 0 for a single one; with `numReturnSequences`, which sequence of the result. */
  readonly row: number;
  readonly id: number;
  /** Logit of the token, as the model gave it. */
  readonly logit: number;
  /**
   * What the token adds to the text; '' without a tokenizer, for special tokens, and while a character is incomplete or a
   * stop string may have begun.
   */
  readonly text: string;
}

/** Why a sequence ended: with an end of sequence, at its longest, or with a stop string. */
export type FinishReason = 'eos' | 'length' | 'stop';

/** What continuations of one call share. */
export interface Rules {
  readonly where: string;
  readonly strategy: Strategy;
  readonly tokenizer: TextTokenizer | undefined;
  readonly padId: number;
}

/** A sequence that grows token by token until it has ended. */
export class Continuation {
  readonly row: number;
  readonly ids: number[] = [];
  readonly logits: number[] = [];
  /** The prefix and the tokens so far. */
  readonly sequence: number[];
  /** Undefined until it has ended. */
  finishReason: FinishReason | undefined;
  readonly #limit: number;
  readonly #eosIds: readonly number[];
  readonly #stream: TextStream;

  /** @throws TopKError INVALID_OPTION for a prefix that is too long already. */
  constructor(row: number, prefix: readonly number[], { where, strategy, tokenizer, padId }: Rules) {
    this.row = row;
    this.sequence = [...prefix];
    this.#limit = mostNewTokens(where, strategy.limits, prefix.length);
    this.#eosIds = strategy.eosIds;
    const isSpecial = (id: number): boolean => id === padId || strategy.eosIds.includes(id);
    this.#stream = new TextStream(tokenizer, isSpecial, strategy.stopStrings);
  }

  /** The most tokens that it may get. */
  get limit(): number {
    return this.#limit;
  }

  get text(): string {
    return this.#stream.text;
  }

  /** Adds a token, which may be the last. */
  add(id: number, logit: number): GeneratedToken {
    this.ids.push(id);
    this.logits.push(logit);
    this.sequence.push(id);
    const isEnd = this.#eosIds.includes(id);
    const last = isEnd || this.ids.length >= this.#limit;
    const text = this.#stream.push(id, last);
    if (isEnd) this.finishReason = 'eos';
    else if (this.#stream.isStopped) this.finishReason = 'stop';
    else if (last) this.finishReason = 'length';
    return { row: this.row, id, logit, text };
  }
}

/** @throws TopKError INVALID_OPTION where the prefix leaves no room. */
export function mostNewTokens(
  where: string,
  { maxNewTokens, maxLength }: Limits,
  prefixLength: number,
): number {
  if (maxNewTokens !== undefined) return maxNewTokens;
  const room = (maxLength as number) - prefixLength;
  if (room > 0) return room;
  throw new TopKError('INVALID_OPTION', `${where}: maxLength leaves no room for a token`, {
    expected: `more than the ${prefixLength} tokens that the sequence begins with`,
    got: String(maxLength),
    fix: 'Use maxNewTokens',
  });
}
