import {
  add,
  aNumber,
  anArray,
  fill,
  type OptionKinds,
  readOptions,
  required,
  reshape,
  scope,
  type Tensor,
} from '@topk-attention/core';
import {
  type Context,
  type Declarations,
  type Declared,
  type EncoderInputs,
  initializers,
  type Layer,
  parameterOf,
  within,
} from '@topk-attention/nn';
import { requireNumber, requireWhole } from './inputs.js';

/** A text and the memory that travels beside it. */
export interface TwoStreams {
  /** [B, L, width] */
  readonly x: Tensor;
  /** [B, l, width] */
  readonly memory: Tensor;
}

/** What a block of two streams takes besides: lengths of the texts. */
export type TwoStreamInputs = Pick<EncoderInputs, 'keyLengths'>;

/** A block of a network with a memory: two streams in, two out. */
export interface TwoStreamBlock extends Declared {
  apply(context: Context, streams: TwoStreams, inputs?: TwoStreamInputs): TwoStreams;
}

export interface MemoryEncoderOptions {
  readonly width: number;
  /** Vectors of the memory. */
  readonly memory: number;
  /** One after the other: `lunaBlock` or `convLunaBlock`, each with weights of its own. */
  readonly blocks: readonly TwoStreamBlock[];
  /** Deviation of the memory's first values. Default width ** -0.5, as Luna's; ConvLuna's is 1. */
  readonly deviation?: number;
}

const kinds: OptionKinds<MemoryEncoderOptions> = {
  width: required(aNumber),
  memory: required(aNumber),
  blocks: required(anArray()),
  deviation: aNumber,
};

/** An encoder x [B, L, width] -> [B, L, width], whose memory may be asked for. */
export interface MemoryEncoder extends Layer<readonly [x: Tensor, inputs?: TwoStreamInputs]> {
  /** Both streams after the last block. */
  encode(context: Context, x: Tensor, inputs?: TwoStreamInputs): TwoStreams;
}

/**
 * Blocks of two streams one after the other, with a learned memory at the beginning: parameters `memory` [l, width] and
 * `layers.<i>.*`. In the place of an encoder stack.
 *
 * @throws TopKError INVALID_OPTION
 *
 * @example
 * const blocks = [1, 2].map(() => lunaBlock({ width: 64, heads: 4, hidden: 128 }));
 * const encoder = memoryEncoder({ width: 64, memory: 16, blocks });
 */
export function memoryEncoder(options: MemoryEncoderOptions): MemoryEncoder {
  const { width, memory, blocks, deviation = width ** -0.5 } = readOptions('memoryEncoder', options, kinds);
  requireWhole('memoryEncoder', 'width', width, 1);
  requireWhole('memoryEncoder', 'memory', memory, 1);
  requireWhole('memoryEncoder', 'number of blocks', blocks.length, 1);
  requireNumber('memoryEncoder', 'deviation', deviation, 'positive');
  const parameters: Declarations = {
    memory: { shape: [memory, width], initializer: initializers.normal(deviation) },
    ...Object.fromEntries(
      blocks.flatMap((block, index) =>
        Object.entries(block.parameters).map(([name, one]) => [`layers.${index}.${name}`, one]),
      ),
    ),
  };
  const encode = (context: Context, x: Tensor, inputs?: TwoStreamInputs): TwoStreams =>
    scope(() => {
      const start = reshape(parameterOf(context, 'memory'), [1, memory, width]);
      const batch = x.shape[0] as number;
      let streams: TwoStreams = {
        x: x.alias(),
        memory: add(fill(x.backend, 0, [batch, memory, width], x.dtype), start),
      };
      for (const [index, block] of blocks.entries()) {
        const next = block.apply(within(context, `layers.${index}`), streams, inputs);
        streams.x.dispose();
        streams.memory.dispose();
        streams = next;
      }
      return streams;
    });
  return {
    parameters,
    encode,
    apply: (context, x, inputs) => scope(() => encode(context, x, inputs).x),
  };
}
