/** The sizes and rules of a classifier. Plain data, stored with every run. */
export interface ModelSettings {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly headDim: number;
  /** Hidden units of the feed-forward layers. */
  readonly hidden: number;
  readonly classes: number;
  /** Tokens of a document; longer ones are cut, shorter ones padded. */
  readonly tokens: number;
  /** Rows of the table of tokens, and their deviation at the beginning. */
  readonly tokenRows: number;
  readonly tokenDeviation: number;
  readonly positions: 'learned' | 'sinusoidal';
  /** Rows of the table of learned positions. */
  readonly positionRows: number;
  readonly dropout: number;
  readonly attentionDropout: number;
  /** Whether the projections of attention have a bias. */
  readonly projectionBias: boolean;
  readonly normEpsilon: number;
  /**
   * What stands for a document: the sum over its tokens divided by the padded length, as the small configuration is
   * published (padded); their mean (masked); the mean over padding too (all); the vector of a class token put in front
   * (class); that of the first token (first).
   */
  readonly pooling: Pooling;
  /** Divides the sum when `pooling` is padded. */
  readonly paddedTokens: number;
  /**
   * Black pixels: hidden, because their id 0 is also that of padding, as published (masked); or ids from 1 on (shifted).
   * Other tasks pad with 0 and have no such tokens.
   */
  readonly zeroPixel: 'masked' | 'shifted' | 'none';
  /** Units of the ReLU layers between the pooled vector and the classes. */
  readonly head: readonly number[];
  /** What the head sees of two documents a and b: a, b, a b, a - b; or a, b. One document: 'none'. */
  readonly pair: 'none' | 'interaction' | 'concatenation';
}

export type Pooling = 'padded' | 'masked' | 'all' | 'class' | 'first';

/** What attention computes. */
export interface MechanismSettings {
  readonly name: MechanismName;
  /** Keys that each query keeps, always with the mechanisms that keep some. */
  readonly k?: number;
  /** Random features, always with the mechanisms that have any. */
  readonly features?: number;
  /** Landmarks of SOFT, vectors of Luna's memory; always with those. */
  readonly landmarks?: number;
  /** Steps after which random features are drawn anew. Absent: they are drawn once. */
  readonly redraw?: number;
}

/** What the mechanisms that have them use unless something else is asked for. */
export const usual: { readonly k: number; readonly features: number; readonly landmarks: number } = {
  k: 128,
  features: 256,
  landmarks: 32,
};

/** Settings that only some mechanisms have. */
export type MechanismOption = 'k' | 'features' | 'landmarks' | 'redraw';

/**
 * The mechanisms of `@topk-attention/nn` and `@topk-attention/mechanisms`, some by several of their kernels, in the order of
 * lists and tables.
 */
export const mechanismNames = [
  'exact',
  'top-k',
  'performer',
  'performer-relu',
  'rfa',
  'rfa-gate',
  'sigmoid',
  'fastmax',
  'fastmax-1',
  'trainable-kernel',
  'simpletron',
  'entmax',
  'sparsefinder',
  'sbm',
  'soft',
  'soft-norm',
  'relative-kernel',
  'luna',
  'conv-luna',
  'causal-luna',
] as const;

export type MechanismName = (typeof mechanismNames)[number];
