import type { Activation, FeedForwardSelect, Tensor } from '@topk-attention/core';

/** What an exporter must know of a T5: the fields of the same names of `T5Config`. */
export interface T5Settings {
  readonly vocabSize: number;
  readonly dModel: number;
  readonly dKv: number;
  readonly dFf: number;
  readonly encoderLayers: number;
  readonly decoderLayers: number;
  readonly heads: number;
  readonly buckets: number;
  readonly maxDistance: number;
  readonly epsilon: number;
  readonly dropoutRate: number;
  readonly activation: Activation;
  readonly gated: boolean;
  readonly tiedEmbeddings: boolean;
  readonly scaledOutputs: boolean;
  readonly padId: number;
  readonly eosIds: readonly number[];
  readonly decoderStartId: number;
}

/** All keys, or the k best of each query. Functions are for running models and cannot be written down. */
export type ExportedAttention = 'exact' | { readonly k: number };

/** All hidden units, or the k best of each token. */
export type ExportedFeedForward = 'exact' | { readonly k: number; readonly select?: FeedForwardSelect };

/** What one layer is written as. */
export interface ExportedLayer {
  readonly attention: ExportedAttention | ((...given: never[]) => unknown);
  readonly crossAttention: ExportedAttention | ((...given: never[]) => unknown);
  readonly feedForward: ExportedFeedForward;
}

/**
 * A model that can be exported: a `T5` of @topk-attention/models has these. Described by its parts, because a backend
 * knows no models.
 */
export interface ExportableT5 {
  readonly config: T5Settings;
  /** By their Hugging Face names, linear layers as [in, out]. */
  readonly parameters: { readonly [name: string]: Tensor };
  /** By path: 'encoder.0', ..., 'decoder.0', ... */
  readonly layerChoices: { readonly [path: string]: ExportedLayer };
}
