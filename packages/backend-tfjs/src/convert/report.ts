/** A layer made by a conversion, and the layers it replaces. */
export interface ConvertedLayer {
  readonly into: 'TopKMultiHeadAttention' | 'TopKFeedForward';
  /** Name of the new layer. */
  readonly name: string;
  /** Names of the layers it replaces, with those of the nested models they are in: 'encoder/dense_1'. */
  readonly from: readonly string[];
  /** Keys or hidden units kept. */
  readonly k: number;
}

/** Layers that look like attention or a feed-forward layer and were left as they are, with the reason. */
export interface LeftLayer {
  readonly layers: readonly string[];
  readonly why: string;
}

export interface ConversionReport {
  readonly converted: readonly ConvertedLayer[];
  readonly left: readonly LeftLayer[];
}
