import {
  add,
  aNumber,
  anArray,
  aTensor,
  describeValue,
  fill,
  type OptionKinds,
  readOptions,
  required,
  reshape,
  scope,
  type Tensor,
  TopKError,
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

const inputKinds: OptionKinds<TwoStreamInputs> = { keyLengths: aTensor };

/** A block of a network with a memory: two streams in, two out. */
export interface TwoStreamBlock extends Declared {
  /** That of both streams. `memoryEncoder` refuses a block of another width. Default: any. */
  readonly width?: number;
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
 * @throws TopKError INVALID_OPTION, also for blocks of another width; when applied, for inputs besides `keyLengths`.
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
  for (const [index, block] of blocks.entries()) requireBlock(index, block, width);
  requireNumber('memoryEncoder', 'deviation', deviation, 'positive');
  const parameters: Declarations = {
    memory: { shape: [memory, width], initializer: initializers.normal(deviation) },
    ...Object.fromEntries(
      blocks.flatMap((block, index) =>
        Object.entries(block.parameters).map(([name, one]) => [`layers.${index}.${name}`, one]),
      ),
    ),
  };
  const encode = (context: Context, x: Tensor, called?: TwoStreamInputs): TwoStreams =>
    scope(() => {
      const inputs = readInputs('memoryEncoder', context, called);
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

/** @throws TopKError INVALID_OPTION */
function requireBlock(index: number, block: TwoStreamBlock | null | undefined, width: number): void {
  const isBlock = typeof block?.apply === 'function' && typeof block.parameters === 'object';
  if (isBlock && (block.width ?? width) === width) return;
  throw new TopKError('INVALID_OPTION', `memoryEncoder: bad blocks[${index}]`, {
    expected: isBlock ? `a block of width ${width}` : 'a block such as lunaBlock or convLunaBlock',
    got: isBlock ? `one of width ${block.width}` : describeValue(block),
  });
}

/**
 * What a block, or an encoder of blocks, is applied with.
 *
 * @throws TopKError INVALID_OPTION for anything besides `keyLengths`; UNSUPPORTED for `causal`
 */
export function readInputs(
  where: string,
  { path }: Context,
  called: TwoStreamInputs | undefined,
): TwoStreamInputs {
  const place = path === '' ? where : path;
  requireBothDirections(place, called);
  return readOptions(place, called, inputKinds);
}

/** @throws TopKError UNSUPPORTED for options that ask for a causal block. */
export function requireBothDirections(where: string, given: object | undefined): void {
  if ((given as { readonly causal?: unknown } | undefined)?.causal !== true) return;
  throw new TopKError('UNSUPPORTED', `${where}: it has no causal form`, {
    expected:
      'texts that are seen whole, because the memory reads all tokens and every token reads the memory',
    got: 'causal: true',
    fix: 'Use attentionLayer with the mechanism causalLuna',
  });
}
