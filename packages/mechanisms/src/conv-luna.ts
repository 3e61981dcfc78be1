import {
  add,
  aNumber,
  arange,
  cast,
  exactAttention,
  exp,
  lt,
  mul,
  neg,
  type OptionKinds,
  optionsWithin,
  readOptions,
  required,
  reshape,
  scope,
  type Tensor,
  TopKError,
  where,
} from '@topk-attention/core';
import {
  type Context,
  type Declarations,
  defineLayer,
  dropout,
  feedForwardLayer,
  initializers,
  linearLayer,
  mergeHeads,
  normLayer,
  parameterOf,
  splitHeads,
  within,
} from '@topk-attention/nn';
import { filtered, pooledMax, type Windows, windowCounts } from './filters.js';
import { requireNumber, requireWhole } from './inputs.js';
import { requireHeads } from './luna.js';
import {
  readInputs,
  requireBothDirections,
  type TwoStreamBlock,
  type TwoStreamInputs,
  type TwoStreams,
} from './two-streams.js';

export interface ConvLunaBlockOptions {
  readonly width: number;
  readonly heads: number;
  /** Hidden units of the feed-forward layer. */
  readonly hidden: number;
  /** Tokens of the convolution. Default 4, if there is no `pool`. */
  readonly filter?: number;
  /** In place of a convolution: the largest of each window, `width` tokens long and `stride` apart. */
  readonly pool?: Windows;
  /** Default 0.1. */
  readonly dropout?: number;
}

const kinds: OptionKinds<ConvLunaBlockOptions> = {
  width: required(aNumber),
  heads: required(aNumber),
  hidden: required(aNumber),
  filter: aNumber,
  pool: optionsWithin<Windows>({ width: required(aNumber), stride: required(aNumber) }),
  dropout: aNumber,
};

/**
 * A block of ConvLuna (Yorsh et al., 2024), in the simplified form of its experiments: as Luna, but the keys and values
 * that the memory attends to are filtered along the text first, by a kernel per head or by the largest of each window, and
 * the temperature of both softmaxes is learned, exp(tau), from 1 and without 1 / sqrt(d). Values are the vectors themselves;
 * packing and unpacking share `query`, `key` and `output`. Parameters `filter` [heads, w], `pack_temperature` and
 * `unpack_temperature` [1].
 *
 * Unlike the published code: the temperature of unpacking is used, not passed in another argument's place; padding hides
 * pooled windows too; projections are shared as the paper says; each norm is used where it is declared.
 *
 * @throws TopKError INVALID_OPTION; UNSUPPORTED for `causal`; both also when applied, for inputs besides `keyLengths`, and
 * SHAPE_MISMATCH for a text shorter than a window.
 *
 * @example
 * const block = convLunaBlock({ width: 64, heads: 4, hidden: 128, filter: 4 });
 */
export function convLunaBlock(options: ConvLunaBlockOptions): TwoStreamBlock {
  requireBothDirections('convLunaBlock', options);
  const given = readOptions('convLunaBlock', options, kinds);
  const { width, heads, hidden, pool, dropout: rate = 0.1 } = given;
  const { filter = pool === undefined ? 4 : undefined } = given;
  requireHeads('convLunaBlock', width, heads);
  requireNumber('convLunaBlock', 'dropout', rate, 0);
  if (filter !== undefined) requireWhole('convLunaBlock', 'filter', filter, 1);
  if (pool !== undefined) {
    requireWhole('convLunaBlock', 'pool.width', pool.width, 1);
    requireWhole('convLunaBlock', 'pool.stride', pool.stride, 1);
  }
  if (filter !== undefined && pool !== undefined) {
    throw new TopKError('INVALID_OPTION', 'convLunaBlock: two filters', {
      expected: 'filter or pool',
      got: 'both',
    });
  }
  const projections = {
    query: linearLayer(width, width),
    key: linearLayer(width, width),
    output: linearLayer(width, width),
  };
  const norms = { norm_x: normLayer(width), norm_memory: normLayer(width), norm_output: normLayer(width) };
  const feedForward = feedForwardLayer({ width, hidden, activation: 'gelu', dropout: rate });
  const own: Declarations = {
    pack_temperature: { shape: [1], initializer: initializers.zeros },
    unpack_temperature: { shape: [1], initializer: initializers.zeros },
    ...(filter !== undefined && {
      filter: { shape: [heads, filter], initializer: initializers.uniform(filter ** -0.5) },
    }),
  };
  const { parameters } = defineLayer(
    { ...projections, ...norms, '': { parameters: { ...feedForward.parameters, ...own } } },
    (_, x: Tensor) => x,
  );

  const attend = (
    context: Context,
    name: 'pack' | 'unpack',
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keyLengths?: Tensor,
  ): Tensor => {
    const warmth = exp(neg(parameterOf(context, `${name}_temperature`)));
    const own = splitHeads(projections.query.apply(within(context, 'query'), query), heads);
    const options = { scale: 1, ...(keyLengths && { keyLengths }) };
    const attended = exactAttention(mul(own, warmth), key, value, options);
    return projections.output.apply(within(context, 'output'), mergeHeads(attended));
  };
  const keysOf = (context: Context, of: Tensor): Tensor =>
    splitHeads(projections.key.apply(within(context, 'key'), of), heads);

  const apply = (context: Context, { x, memory }: TwoStreams, called?: TwoStreamInputs): TwoStreams =>
    scope(() => {
      const { keyLengths } = readInputs('convLunaBlock', context, called);
      /** Filtered rows of [B, H, L, d]. */
      const through = (rows: Tensor): Tensor => {
        if (pool === undefined)
          return filtered(shownRows(rows, keyLengths, 0), parameterOf(context, 'filter'));
        const pooled = pooledMax(shownRows(rows, keyLengths, Number.NEGATIVE_INFINITY), pool);
        return keyLengths === undefined ? pooled : shownRows(pooled, windowCounts(keyLengths, pool), 0);
      };
      const lengths =
        pool === undefined || keyLengths === undefined ? keyLengths : windowCounts(keyLengths, pool);
      const packed = attend(
        context,
        'pack',
        memory,
        through(keysOf(context, x)),
        through(splitHeads(x, heads)),
        lengths,
      );
      const unpacked = attend(context, 'unpack', x, keysOf(context, packed), splitHeads(packed, heads));
      const sum = (name: keyof typeof norms, to: Tensor, one: Tensor): Tensor => {
        const dropped = dropout(context, within(context, name).path, one, rate);
        return norms[name].apply(within(context, name), add(to, dropped));
      };
      const attended = sum('norm_x', x, unpacked);
      return {
        x: sum('norm_output', attended, feedForward.apply(context, attended)),
        memory: sum('norm_memory', memory, packed),
      };
    });
  return { width, parameters, apply };
}

/** x [B, H, L, d] with `hidden` after each text's end. */
function shownRows(x: Tensor, lengths: Tensor | undefined, hidden: number): Tensor {
  if (lengths === undefined) return x;
  const [batch, , length] = x.shape as readonly [number, number, number];
  const positions = reshape(arange(x.backend, length), [1, 1, length, 1]);
  return where(lt(positions, reshape(cast(lengths, 'i32'), [batch, 1, 1, 1])), x, hidden);
}
