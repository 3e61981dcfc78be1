import { type Tensor, TopKError } from '@topk-attention/core';
import { memoryEncoder } from '@topk-attention/mechanisms';
import { type EncoderInputs, encoderStack, initializers, type Layer } from '@topk-attention/nn';
import { mechanismOf, mechanisms } from './mechanism.js';
import { type MechanismSettings, type ModelSettings, usual } from './settings.js';

/** As PyTorch's linear layer begins. */
const kaiming = initializers.kaimingUniform({ slope: Math.sqrt(5) });

/**
 * The layers between the embedding and the mean: encoder layers with a mechanism, or blocks with a memory.
 *
 * @throws TopKError INVALID_OPTION for blocks with top-k feed-forward layers or heads of another width, and for a mechanism
 * that sees distances where hidden pixels are moved.
 */
export function encoderOf(
  settings: ModelSettings,
  mechanism: MechanismSettings,
  feedForwardK?: number,
): Layer<readonly [x: Tensor, inputs?: Pick<EncoderInputs, 'keyLengths'>]> {
  const { layers, width, heads, headDim, hidden, dropout } = settings;
  const { block, memoryDeviation, isCausal, seesOrder } = mechanisms[mechanism.name];
  if (seesOrder && settings.zeroPixel === 'masked') {
    throw new TopKError('INVALID_OPTION', `${mechanism.name}: black pixels are moved behind the others`, {
      expected: 'pixels where they stand, because it sees distances between tokens',
      got: 'zeroPixel masked',
      fix: 'Train it with --zero-pixel shifted, where black is a colour',
    });
  }
  if (block !== undefined) {
    if (feedForwardK !== undefined || headDim * heads !== width) {
      throw new TopKError('INVALID_OPTION', `${mechanism.name}: its blocks have layers of their own`, {
        expected: 'all hidden units, and heads of width / heads',
        got: `feedForwardK ${feedForwardK}, ${heads} heads of ${headDim} in ${width}`,
      });
    }
    const blocks = Array.from({ length: layers }, () => block({ width, heads, hidden, dropout }));
    return memoryEncoder({
      width,
      memory: mechanism.landmarks ?? usual.landmarks,
      blocks,
      ...(memoryDeviation !== undefined && { deviation: memoryDeviation }),
    });
  }
  const value = mechanismOf(mechanism, settings.tokens + (settings.pooling === 'class' ? 1 : 0));
  const takesDropout = value.takes.includes('dropout');
  return encoderStack({
    layers,
    width,
    heads,
    hidden,
    normFirst: true,
    norm: { epsilon: settings.normEpsilon },
    dropout,
    attention: {
      mechanism: value,
      headDim,
      ...(isCausal && { causal: true }),
      bias: settings.projectionBias,
      ...(takesDropout && { dropout: settings.attentionDropout }),
      initializers: { query: kaiming, key: kaiming, value: kaiming, output: kaiming },
    },
    feedForward: { activation: 'gelu', ...(feedForwardK !== undefined && { k: feedForwardK }) },
  });
}
