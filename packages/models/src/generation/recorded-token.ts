import {
  type Backend,
  cast,
  narrow,
  type RecordedStep,
  recordedStep,
  type Tensor,
  type Tree,
  tensor,
} from '@topk-attention/core';
import type { HeadAttention, Run } from '@topk-attention/nn';
import { bestTokens } from './best-token.js';

/**
 * Room of a new cache for tokens to come. A short answer never makes it grow. A recorded step is recorded anew when it does,
 * which costs more than reading past spare room.
 */
const FIRST_ROOM = 32;
const RECORDED_ROOM = 128;

/** Places of a new cache for the tokens to come. */
export function roomOf(isRecorded: boolean): number {
  return isRecorded ? RECORDED_ROOM : FIRST_ROOM;
}

/**
 * Whether steps through these layers are recorded: not for hooks, which want to be called for each token, nor for functions
 * of the caller's, which may read anything.
 */
export function isRecordable(
  backend: Backend,
  { trace }: Run,
  layers: readonly Pick<HeadAttention, 'choice'>[],
): boolean {
  if (backend.record === undefined || trace !== undefined) return false;
  return layers.every(({ choice }) => typeof choice !== 'function');
}

export interface TokenInputs {
  readonly [name: string]: Tensor;
  /** i32 [B, 1] */
  readonly tokens: Tensor;
  /** i32 [1]: how many tokens the caches hold. */
  readonly position: Tensor;
}

/** One token of each row through a decoder, as a pure function of tensors: everything that changes is in them. */
export type TokenStep<State extends Tree> = (
  state: State,
  inputs: TokenInputs,
) => { readonly state: State; readonly logits: Tensor };

interface Logits {
  readonly [name: string]: Tensor;
  /** f32 [B, vocabSize] */
  readonly logits: Tensor;
}

interface Best {
  readonly [name: string]: Tensor;
  /** f32 [B, 2], as `bestTokens` gives them. */
  readonly best: Tensor;
  /** Their ids, i32 [B, 1]: what the next step may be fed. */
  readonly tokens: Tensor;
}

/** The step of a token, recorded once and replayed from token to token: for its logits, or for the best tokens alone. */
export class RecordedToken<State extends Tree> {
  readonly #backend: Backend;
  readonly #logits: RecordedStep<State, TokenInputs, Logits>;
  readonly #best: RecordedStep<State, TokenInputs, Best>;
  /** i32 [B, 1]: what `best` gave last. */
  #tokens: Tensor | undefined;

  constructor(backend: Backend, step: TokenStep<State>) {
    this.#backend = backend;
    this.#logits = recordedStep<State, TokenInputs, Logits>(
      (state, inputs) => {
        const { state: next, logits } = step(state, inputs);
        return { state: next, outputs: { logits } };
      },
      { mostRecordings: 1 },
    );
    this.#best = recordedStep<State, TokenInputs, Best>(
      (state, inputs) => {
        const { state: next, logits } = step(state, inputs);
        const best = bestTokens(logits);
        return { state: next, outputs: { best, tokens: cast(narrow(best, 1, 0, 1), 'i32') } };
      },
      { mostRecordings: 1 },
    );
  }

  /** Consumes the state; the logits f32 [B, vocabSize] are the caller's. */
  logits(state: State, tokens: readonly number[], position: number): { state: State; logits: Tensor } {
    const { state: next, outputs } = this.#run(this.#logits, state, this.#upload(tokens), position);
    return { state: next, logits: outputs.logits };
  }

  /** The same for the best tokens f32 [B, 2]. Without `tokens`, it feeds those that it gave last. */
  best(
    state: State,
    tokens: readonly number[] | undefined,
    position: number,
  ): { state: State; best: Tensor } {
    const fed = tokens === undefined ? (this.#tokens as Tensor).alias() : this.#upload(tokens);
    const { state: next, outputs } = this.#run(this.#best, state, fed, position);
    this.#tokens?.dispose();
    this.#tokens = outputs.tokens;
    return { state: next, best: outputs.best };
  }

  /** Idempotent. */
  dispose(): void {
    this.#tokens?.dispose();
    this.#logits.dispose();
    this.#best.dispose();
  }

  #upload(tokens: readonly number[]): Tensor {
    return tensor(this.#backend, Int32Array.from(tokens), [tokens.length, 1], 'i32');
  }

  #run<Outputs>(
    run: RecordedStep<State, TokenInputs, Outputs>,
    state: State,
    tokens: Tensor,
    position: number,
  ): { readonly state: State; readonly outputs: Outputs } {
    try {
      const at = tensor(this.#backend, Int32Array.of(position), [1], 'i32');
      try {
        return run(state, { tokens, position: at });
      } finally {
        at.dispose();
      }
    } finally {
      tokens.dispose();
    }
  }
}
