import type { Tensor } from '@topk-attention/core';
import type { Interruption } from '../interruption.js';
import type { Progress } from '../progress.js';

/** A model that continues sequences of tokens, several at once. */
export interface Decoder<State extends DecoderState> {
  /**
   * Reads the prompts, one row of token ids each, and computes what every step needs. Rows may differ in length, and each
   * gives what it would give alone.
   *
   * @throws TopKError ABORTED, DISPOSED; nothing is left on the backend then.
   */
  start(prompts: readonly (readonly number[])[], events: DecoderEvents): Promise<State>;
  /** Feeds one token to each row: logits f32 [rows, vocabSize] of the next one, the caller's. Advances the state. */
  step(state: State, tokens: readonly number[]): Tensor;
  /**
   * As `step`, but of the logits only `bestTokens`, f32 [rows, 2]. Without tokens it feeds those that it gave last, which
   * nobody has to have read: the device goes on while they are on their way. Undefined where steps are not recorded.
   */
  readonly best?: (state: State, tokens?: readonly number[]) => Tensor;
}

/** Where a decoder stops and reports. */
export interface DecoderEvents {
  readonly interruption: Interruption;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

/** Decoding in progress: the caches and whatever else a step needs. Owns its tensors. */
export interface DecoderState {
  /**
   * The tokens that the sequence of each row begins with, at least one: the decoder's start token, or the prompt that it
   * continues. The last of each is fed to the first step.
   */
  readonly prefixes: readonly (readonly number[])[];
  /**
   * Tensors that the next step reads. On engines that compile graphs, evaluating them first keeps the graph of a step
   * the same from token to token.
   */
  readonly tensors: readonly Tensor[];
  /** Makes room for one more token. True if that changed shapes, so that `tensors` are worth evaluating. */
  reserve(): boolean;
  /**
   * Row r goes on from what was row `rows[r]`, on the device. Any number of rows: they begin as copies, before the first
   * step, and beams move after a token.
   */
  reorder(rows: readonly number[]): void;
  /** Idempotent. */
  dispose(): void;
}
