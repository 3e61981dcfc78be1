export type Activation = 'relu' | 'gelu' | 'gelu_tanh' | 'silu';
export type FeedForwardSelect = 'preactivation' | 'contribution';

/** Everything about a feed-forward call except its tensors. */
export interface FeedForwardRequest {
  readonly tokens: number;
  readonly inputDim: number;
  readonly hidden: number;
  readonly outputDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly k: number | 'all';
  readonly activation: Activation;
  readonly gated: boolean;
  readonly biasIn: boolean;
  readonly biasOut: boolean;
  readonly select: FeedForwardSelect;
  /** True when a fused version should also return the kept units, for the backward pass. Default false. */
  readonly saves?: boolean;
}

export interface FeedForwardInputs<T> {
  /** [tokens, D] */
  readonly x: T;
  /** [D, F] */
  readonly wIn: T;
  /** [F] */
  readonly bIn?: T;
  /** [D, F] */
  readonly wGate?: T;
  /** [F, Dout] */
  readonly wOut: T;
  /** [Dout] */
  readonly bOut?: T;
}

export interface FeedForwardOutputs<T> {
  /** [tokens, Dout] */
  readonly output: T;
  /** i32 [tokens, k]: kept units ascending, then -1. Present when `request.saves` asks for it and k is a number. */
  readonly indices?: T;
  /** f32 [tokens, k]: pre-activations of the kept units; all NaN for a token with a NaN. */
  readonly preactivations?: T;
}

export interface FeedForwardBackwardInputs<T> extends FeedForwardInputs<T> {
  readonly indices?: T;
  readonly preactivations?: T;
  /** [tokens, Dout] */
  readonly dOutput: T;
}
