import { planAttentionBackward, planFeedForward } from '@topk-attention/core';
import type { AttentionRequest, ComposedBytes, FeedForwardRequest } from '@topk-attention/core/backend';
import { expect, test } from 'vitest';
import { composedBytes } from '../../src/graph/composed-bytes.js';
import { limits } from '../../src/limits.js';

/** Scratch of the most frugal chunk that is a power of two. */
function least(scratchBytes: (chunk: number) => number, length: number): number {
  const chunks = Array.from({ length: 1 + Math.log2(length) }, (_, at) => 2 ** at);
  return Math.min(...chunks.map(scratchBytes));
}

test('chunks of long calls take at most twice what the most frugal ones do: turns of a loop are not shared', () => {
  const queries = 16_384;
  const attention: AttentionRequest = {
    ...{ batch: 1, queryHeads: 12, keyHeads: 12, queryLength: queries, keyLength: queries },
    ...{ headDim: 64, valueDim: 64, dtype: 'f32', k: 'all', scale: 0.125 },
    ...{ causal: false, keyLengths: false, saves: true },
  };
  const tokens = 2 ** 18;
  const layer: FeedForwardRequest = {
    ...{ tokens, inputDim: 768, hidden: 3072, outputDim: 768, dtype: 'f32', k: 'all' },
    ...{
      activation: 'relu',
      gated: false,
      select: 'preactivation',
      biasIn: false,
      biasOut: false,
      saves: false,
    },
  };
  const { attentionBackward, feedForward } = composedBytes as Required<ComposedBytes>;
  const ofAttention = (chunk: number): number => attentionBackward.scratchBytes(attention, chunk, limits);
  const ofLayer = (chunk: number): number => feedForward.scratchBytes(layer, chunk, limits);
  const planned = planAttentionBackward(attention, limits, { path: { scratchBytes: ofAttention } });
  expect(planned.bytes.scratch).toBeLessThanOrEqual(2 * least(ofAttention, 1024));
  const wide = planFeedForward(layer, limits, { path: { scratchBytes: ofLayer } });
  expect(wide.bytes.scratch).toBeLessThanOrEqual(2 * least(ofLayer, tokens));
});
