import {
  add,
  arange,
  cast,
  concat,
  div,
  fill,
  lt,
  max,
  mean,
  mul,
  narrow,
  relu,
  reshape,
  sub,
  sum,
  type Tensor,
  where,
} from '@topk-attention/core';
import {
  type Context,
  type Declarations,
  type Declared,
  defineLayer,
  dropout,
  embedding,
  embeddingLayer,
  initializers,
  type Layer,
  linearLayer,
  parameterOf,
  sinusoidalPositions,
  within,
} from '@topk-attention/nn';
import { encoderOf } from './encoder.js';
import type { MechanismSettings, ModelSettings } from './settings.js';

/** Documents as tensors. Of two documents per example, the first ones of all examples come before the second ones. */
export type Documents = {
  /** i32 [D, L] */
  readonly ids: Tensor;
  /** i32 [D]: tokens that count; they come first. */
  readonly lengths: Tensor;
  /** i32 [D, L]: where each token stood, if the tokens that count had to be moved to the front. */
  readonly places?: Tensor;
};

/**
 * A Transformer encoder that classifies documents: logits [B, classes].
 *
 * Tokens that do not count are those after a document's length. Where they would be anywhere (black pixels), the caller
 * moves them to the end and tells each token's place: attention, feed-forward layers and means do not depend on the
 * order, so this is the same network, and every mechanism can hide a suffix.
 */
export function classifier(
  settings: ModelSettings,
  mechanism: MechanismSettings,
  feedForwardK?: number,
): Layer<readonly [documents: Documents]> {
  const { width, classes, tokenRows, tokenDeviation, head, pair } = settings;
  const hasClass = settings.pooling === 'class';
  const tokens = embeddingLayer(tokenRows, width, { initializer: initializers.normal(tokenDeviation) });
  const encoder = encoderOf(settings, mechanism, feedForwardK);
  const pooledWidth = width * { none: 1, concatenation: 2, interaction: 4 }[pair];
  const sizes = [pooledWidth, ...head];
  const dense = head.map((units, at) => linearLayer(sizes[at] as number, units));
  const output = linearLayer(sizes.at(-1) as number, classes);
  const own: Declarations = {
    ...(settings.positions === 'learned' && {
      'positions.weight': { shape: [settings.positionRows, width], initializer: initializers.normal(0.02) },
    }),
    ...(hasClass && { 'class.weight': { shape: [1, width], initializer: initializers.zeros } }),
  };
  const parts: { [name: string]: Declared } = {
    tokens,
    '': { parameters: own },
    encoder,
    ...Object.fromEntries(dense.map((layer, at) => [`head.${at}`, layer])),
    output,
  };

  const layer = defineLayer(parts, (context, documents: Documents) => {
    const { ids, places } = documents;
    const [count, length] = ids.shape as readonly [number, number];
    let x = tokens.apply(within(context, 'tokens'), ids);
    if (hasClass) {
      const vector = reshape(parameterOf(context, 'class.weight'), [1, 1, width]);
      x = concat([add(fill(x.backend, 0, [count, 1, width], x.dtype), vector), x], 1);
    }
    const lengths = hasClass ? add(documents.lengths, 1) : documents.lengths;
    // Moved tokens stood anywhere in the document.
    const span = places === undefined ? length : settings.tokens;
    const rows = positionRows(context, settings, hasClass ? span + 1 : span, x);
    if (places === undefined) x = add(x, rows);
    else {
      // The class token stands first, the others one further.
      const first = hasClass ? concat([fill(x.backend, 0, [count, 1], 'i32'), add(places, 1)], 1) : places;
      x = add(x, embedding(rows, first));
    }
    x = dropout(context, 'embedded', x, settings.dropout);
    const encoded = encoder.apply(within(context, 'encoder'), x, { keyLengths: lengths });
    let features = paired(pooled(encoded, lengths, settings), pair);
    for (const [at, one] of dense.entries())
      features = relu(one.apply(within(context, `head.${at}`), features));
    return output.apply(within(context, 'output'), features);
  });
  return { ...layer, parameters: withBiases(layer.parameters, width) };
}

/** The biases of attention's projections begin as those of any linear layer, not at 0. */
function withBiases(parameters: Declarations, width: number): Declarations {
  const initializer = initializers.uniform(1 / Math.sqrt(width));
  return Object.fromEntries(
    Object.entries(parameters).map(([name, declaration]) => [
      name,
      name.endsWith('_proj.bias') ? { ...declaration, initializer } : declaration,
    ]),
  );
}

/** Vectors of the first places, [length, width]. */
function positionRows(
  context: Context,
  { positions, width }: ModelSettings,
  length: number,
  { backend, dtype }: Tensor,
): Tensor {
  if (positions === 'learned') return narrow(parameterOf(context, 'positions.weight'), 0, 0, length);
  return sinusoidalPositions(width).apply(context, fill(backend, 0, [length, width], dtype));
}

/** [D, L, width] -> [D, width] */
function pooled(x: Tensor, lengths: Tensor, { pooling, paddedTokens }: ModelSettings): Tensor {
  const [count, length, width] = x.shape as readonly [number, number, number];
  if (pooling === 'class' || pooling === 'first') return reshape(narrow(x, 1, 0, 1), [count, width]);
  if (pooling === 'all') return mean(x, { axes: [1] });
  const column = reshape(lengths, [count, 1]);
  const counts = lt(reshape(arange(x.backend, length), [1, length]), column);
  // A sum over thousands of tokens has too few digits in f16.
  const total = sum(where(reshape(counts, [count, length, 1]), cast(x, 'f32'), 0), { axes: [1] });
  const by = pooling === 'padded' ? paddedTokens : max(cast(column, 'f32'), 1);
  return cast(div(total, by), x.dtype);
}

/** Vectors of documents -> features of examples. */
function paired(x: Tensor, pair: ModelSettings['pair']): Tensor {
  if (pair === 'none') return x;
  const half = (x.shape[0] as number) / 2;
  const [a, b] = [narrow(x, 0, 0, half), narrow(x, 0, half, half)];
  if (pair === 'concatenation') return concat([a, b], 1);
  return concat([a, b, mul(a, b), sub(a, b)], 1);
}
