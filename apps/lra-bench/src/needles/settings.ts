import type { MechanismSettings } from '../model/settings.js';

/** What a row looks like. Plain data. */
export interface NeedleTask {
  /** Different noise, key and value tokens: all three are drawn from the same ones. */
  readonly symbols: number;
  readonly keyTokens: number;
  readonly valueTokens: number;
}

/** The causal model. Plain data. */
export interface NeedleModel {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  /** Hidden units of the feed-forward layers. */
  readonly hidden: number;
  /** T5's relative positions in the first layer: beyond the distance, all are alike. */
  readonly buckets: number;
  readonly maxDistance: number;
}

/** How it is trained. Plain data. */
export interface NeedleTraining {
  readonly steps: number;
  readonly warmup: number;
  readonly learningRate: number;
  readonly clipNorm: number;
  /** Length of the first rows; it doubles until it reaches `tokens`, which gets the last half of the steps. */
  readonly firstTokens: number;
  /** The greatest length. */
  readonly tokens: number;
  /** Of all rows of a step: longer rows are fewer. */
  readonly stepTokens: number;
  /** Steps between two looks at the validation rows, and their number. */
  readonly evalEvery: number;
  readonly validationRows: number;
}

/** Everything that decides what a run learns. Plain data, stored as `needles.json`. */
export interface NeedleConfiguration {
  readonly task: NeedleTask;
  readonly mechanism: MechanismSettings & { readonly name: 'exact' | 'top-k' };
  /** Of the first values and of all rows. */
  readonly seed: number;
  readonly model: NeedleModel;
  readonly training: NeedleTraining;
}

/**
 * Keys of the first layer are equal where tokens are. With few symbols more of them tie than the lists of top-k selection
 * hold, which then is slow: with 64, k 64 and 65,536 tokens a row took 324 ms, with exact attention 69 (NVIDIA H200).
 */
export const needleTask: NeedleTask = { symbols: 4096, keyTokens: 4, valueTokens: 4 };

export const needleModel: NeedleModel = {
  ...{ layers: 2, width: 64, heads: 2, hidden: 128 },
  ...{ buckets: 32, maxDistance: 128 },
};

export const needleTraining: NeedleTraining = {
  ...{ steps: 4000, warmup: 100, learningRate: 3e-3, clipNorm: 1 },
  ...{ firstTokens: 64, tokens: 4096, stepTokens: 32_768 },
  ...{ evalEvery: 250, validationRows: 32 },
};
