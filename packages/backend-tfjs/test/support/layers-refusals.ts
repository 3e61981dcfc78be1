import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { TopKError } from '@topk-attention/core';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { topKLayers } from '../../src/layers-entry.js';
import { numbers, thrownBy, type WholeTf } from './layers-tf.js';

/** One set of classes per tf, their types, and what they say to bad configs and inputs. */
export function describeRefusals(tf: WholeTf): void {
  const layers = topKLayers(tf);
  const { TopKMultiHeadAttention, TopKFeedForward, TopKTransformerBlock } = layers;
  type Layer = InstanceType<typeof TopKMultiHeadAttention>;
  const values = (shape: number[], seed: number): TfTensor => tf.tensor(numbers(shape, seed), shape);

  test('one set of classes per tf, however its functions are gathered', () => {
    expect(topKLayers(tf)).toBe(layers);
    expect(topKLayers({ ...tf })).toBe(layers);
    expect(new TopKFeedForward({ hiddenUnits: 4, k: 1 })).toBeInstanceOf(tf.layers.Layer);
    expectTypeOf<Layer>().toEqualTypeOf<InstanceType<WholeTf['layers']['Layer']>>();
    expectTypeOf<ConstructorParameters<typeof TopKFeedForward>[0]>().not.toBeAny();
    // @ts-expect-error k is not optional
    expect(() => new TopKFeedForward({ hiddenUnits: 4 })).toThrow(TopKError);
    const { layers: _layers, ...withoutLayers } = tf;
    // @ts-expect-error this tf has no layers
    expect(thrownBy(() => topKLayers(withoutLayers)).code).toBe('MISSING_PEER');
  });

  describe('says what is wrong', () => {
    const attention = { numHeads: 2, keyDim: 4, k: 3 };
    const block = { numHeads: 2, k: 3, hiddenUnits: 8 };
    const x = values([2, 5, 8], 1);
    const notGiven: unknown = undefined;
    test.each([
      ['numHeads 0', () => new TopKMultiHeadAttention({ ...attention, numHeads: 0 }), 'INVALID_OPTION', '0'],
      [
        'no keyDim',
        () => new TopKMultiHeadAttention({ ...attention, keyDim: notGiven as number }),
        'INVALID_OPTION',
        'nothing',
      ],
      ['k 0', () => new TopKMultiHeadAttention({ ...attention, k: 0 }), 'INVALID_K', '0'],
      ['k 1.5', () => new TopKFeedForward({ hiddenUnits: 8, k: 1.5 }), 'INVALID_K', '1.5'],
      ['no k', () => new TopKTransformerBlock({ ...block, k: notGiven as number }), 'INVALID_K', 'nothing'],
      ['feedForwardK 0', () => new TopKTransformerBlock({ ...block, feedForwardK: 0 }), 'INVALID_K', '0'],
      [
        'no hiddenUnits',
        () => new TopKTransformerBlock({ ...block, hiddenUnits: notGiven as number }),
        'INVALID_OPTION',
        'nothing',
      ],
      ['dropout 1', () => new TopKMultiHeadAttention({ ...attention, dropout: 1 }), 'INVALID_OPTION', '1'],
      ['a bad seed', () => new TopKMultiHeadAttention({ ...attention, seed: -1 }), 'INVALID_OPTION', '-1'],
      [
        'an empty outputShape',
        () => new TopKMultiHeadAttention({ ...attention, outputShape: [] }),
        'INVALID_OPTION',
        '[]',
      ],
      [
        'an unknown activation',
        () => new TopKFeedForward({ hiddenUnits: 8, k: 1, activation: 'elu' as 'relu' }),
        'INVALID_OPTION',
        'elu',
      ],
      [
        'an unknown initializer',
        () => new TopKFeedForward({ hiddenUnits: 8, k: 1, kernelInitializer: 'nice' }),
        'INVALID_OPTION',
        'nice',
      ],
      [
        'causal as a word',
        () => new TopKMultiHeadAttention({ ...attention, causal: 'yes' as never }),
        'INVALID_OPTION',
        'yes',
      ],
      [
        'a misspelt config',
        () => new TopKMultiHeadAttention({ ...attention, casual: true } as never),
        'INVALID_OPTION',
        'casual',
      ],
      [
        'a config of another layer',
        () => new TopKFeedForward({ hiddenUnits: 8, k: 1, numHeads: 2 } as never),
        'INVALID_OPTION',
        'numHeads',
      ],
      [
        'a misspelt argument of a call',
        () => new TopKMultiHeadAttention(attention).apply(x, { attentionMasks: tf.ones([2, 5]) }),
        'INVALID_OPTION',
        'attentionMasks',
      ],
      [
        'a causal mask as a word',
        () => new TopKTransformerBlock(block).apply(x, { useCausalMask: 'yes' }),
        'INVALID_OPTION',
        'yes',
      ],
      [
        'layerNormEpsilon 0',
        () => new TopKTransformerBlock({ ...block, layerNormEpsilon: 0 }),
        'INVALID_OPTION',
        '0',
      ],
      [
        'five inputs',
        () => new TopKMultiHeadAttention(attention).apply([x, x, x, x, x]),
        'SHAPE_MISMATCH',
        '5',
      ],
      [
        'two inputs',
        () => new TopKFeedForward({ hiddenUnits: 8, k: 1 }).apply([x, x]),
        'SHAPE_MISMATCH',
        '2',
      ],
      ['three inputs', () => new TopKTransformerBlock(block).apply([x, x, x]), 'SHAPE_MISMATCH', '3'],
      [
        'rank 2',
        () => new TopKMultiHeadAttention(attention).apply(values([5, 8], 1)),
        'RANK_MISMATCH',
        '[5, 8]',
      ],
      [
        'an unknown last dim',
        () => new TopKFeedForward({ hiddenUnits: 8, k: 1 }).apply(tf.input({ shape: [5, null] })),
        'SHAPE_MISMATCH',
        '[null, 5, null]',
      ],
      [
        'lengths that differ',
        () => new TopKMultiHeadAttention(attention).apply([x, x, values([2, 4, 8], 1)]),
        'SHAPE_MISMATCH',
        '[2, 4, 8] and [2, 5, 8]',
      ],
      [
        'heads that do not divide',
        () => new TopKTransformerBlock({ ...block, numHeads: 3 }).apply(x),
        'SHAPE_MISMATCH',
        '8',
      ],
      [
        'ids',
        () => new TopKMultiHeadAttention(attention).apply(tf.zeros([2, 5, 8], 'int32')),
        'DTYPE_MISMATCH',
        'int32',
      ],
      [
        'a padding mask of another length',
        () => new TopKMultiHeadAttention(attention).apply(x, { mask: tf.ones([2, 4], 'bool') }),
        'SHAPE_MISMATCH',
        '[2, 4]',
      ],
      [
        'an attention mask of another length',
        () => new TopKTransformerBlock(block).apply([x, tf.ones([2, 5, 4])]),
        'SHAPE_MISMATCH',
        '[2, 5, 4]',
      ],
      [
        'a mask that is none',
        () => new TopKMultiHeadAttention(attention).apply(x, { attentionMask: true }),
        'INVALID_OPTION',
        'boolean',
      ],
    ] as const)('%s', (_name, run, code, got) => {
      const error = thrownBy(run);
      expect(error.code).toBe(code);
      expect(error.expected).toBeTruthy();
      expect(error.got).toContain(got);
      if (!/unknown option/.test(error.message)) expect(error.fix).toBeTruthy();
      expect(error.message).toMatch(/^TopK(MultiHeadAttention|FeedForward|TransformerBlock): /);
    });

    test('inputs of another last dim than the layer was built for', () => {
      const layer = new TopKFeedForward({ hiddenUnits: 8, k: 1 });
      layer.apply(x);
      expect(thrownBy(() => layer.apply(values([2, 5, 6], 1))).code).toBe('SHAPE_MISMATCH');
    });
  });
}
