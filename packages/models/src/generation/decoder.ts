import type { Tensor } from '@topk-attention/core';
import type { Interruption } from '../interruption.js';
import type { Progress } from '../progress.js';

/** A model that continues sequences of tokens, several at once. */
export interface Decoder<State extends DecoderState> {
  /**
   * Reads the prompts, one row of token ids each, and computes what every step needs.
   *
   * @throws TopKError ABORTED, DISPOSED; nothing is left on the backend then.
   */
  start(prompts: readonly (readonly number[])[], events: DecoderEvents): Promise<State>;
  /** Feeds one token to each row and gives the best next one of each, as `bestTokens` does. Advances the state. */
  step(state: State, tokens: readonly number[]): Tensor;
  /**
   * The same with the tokens that the last step gave, which nobody has to have read: the device goes on while they are on
   * their way. Undefined if it cannot.
   */
  stepAhead?(state: State): Tensor | undefined;
}

/** Where a decoder stops and reports. */
export interface DecoderEvents {
  readonly interruption: Interruption;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

/** Decoding in progress: the caches and whatever else a step needs. Owns its tensors. */
export interface DecoderState {
  /** The token that each row feeds to the first step. */
  readonly firstTokens: readonly number[];
  /**
   * Tensors that the next step reads. On engines that compile graphs, evaluating them first keeps the graph of a step
   * the same from token to token.
   */
  readonly tensors: readonly Tensor[];
  /** Makes room for one more token. True if that changed shapes, so that `tensors` are worth evaluating. */
  reserve(): boolean;
  /** Idempotent. */
  dispose(): void;
}
