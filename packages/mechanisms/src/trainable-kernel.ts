import {
  aBoolean,
  aNumber,
  cast,
  dropout,
  fill,
  matmul,
  mean,
  mul,
  narrow,
  type OptionKinds,
  oneOf,
  readOptions,
  reshape,
  scope,
  sigmoid,
  sub,
  type Tensor,
  TopKError,
  tensor,
} from '@topk-attention/core';
import {
  addLoss,
  type Declaration,
  type Initializer,
  initializers,
  type Mechanism,
  type MechanismCall,
  parameterOf,
} from '@topk-attention/nn';
import { perHead } from './features.js';
import { requireNumber, requireWhole, shown } from './inputs.js';
import { attendLinearly, type Features, type LinearSettings, stepLinearly } from './linear.js';
import { noPairs, notSoftmax } from './refusals.js';
import { softplus } from './softplus.js';

export interface TrainableKernelOptions {
  /** Layers of the feature map. Default 1. */
  readonly layers?: number;
  /** What multiplies each layer: sigmoid(x G), the same with G of rank headDim / 4, or nothing. Default 'full'. */
  readonly gate?: 'full' | 'low-rank' | 'none';
  /** Whether the matrices A begin orthogonal. Default false. */
  readonly orthogonal?: boolean;
  /** Weight of the loss mean((A A^T - I)^2) that keeps them so. Default 0. */
  readonly penalty?: number;
  /** Tokens per chunk of the sums. Default: planned. */
  readonly chunk?: number;
}

const kinds: OptionKinds<TrainableKernelOptions> = {
  layers: aNumber,
  gate: oneOf('full', 'low-rank', 'none'),
  orthogonal: aBoolean,
  penalty: aNumber,
  chunk: aNumber,
};

/**
 * Linear attention with a learned feature map (Yorsh and Kovalenko, 2022): layers (x A) * sigmoid(x G), the last one
 * softplus(x A) * sigmoid(x G), which is positive. Queries and keys share the weights of their head, `<i>.weight`
 * [heads, d, d] and `<i>.gate` (or `<i>.gate_in`, `<i>.gate_out`), as rows of outputs. Dropout is that of each layer's
 * input. A penalty is an additional loss: collect it with `withLosses`.
 *
 * @throws TopKError INVALID_OPTION; when the layer is built, also for a gate of low rank with a headDim below 4.
 *
 * @example
 * const mechanism = trainableKernel({ layers: 2, orthogonal: true, penalty: 0.01 });
 * const layer = attentionLayer({ width: 64, heads: 4, mechanism });
 */
export function trainableKernel(options?: TrainableKernelOptions): Mechanism {
  const {
    layers = 1,
    gate = 'full',
    orthogonal = false,
    penalty = 0,
    chunk,
  } = readOptions('trainableKernel', options, kinds);
  requireWhole('trainableKernel', 'layers', layers, 1);
  if (chunk !== undefined) requireWhole('trainableKernel', 'chunk', chunk, 1);
  requireNumber('trainableKernel', 'penalty', penalty, 0);
  const each = Array.from({ length: layers }, (_, index) => index);

  const parameter = (call: MechanismCall, name: string): Tensor =>
    cast(parameterOf(call.context, name), 'f32');
  const mapped = (call: MechanismCall, x: Tensor, keep: Tensor | undefined): Tensor => {
    let current = x;
    for (const index of each) {
      if (keep !== undefined)
        current = mul(current, reshape(narrow(keep, 0, index * x.size, x.size), x.shape));
      const mixed = perHead(current, parameter(call, `${index}.weight`));
      const made = index === layers - 1 ? softplus(mixed) : mixed;
      if (gate === 'full') current = mul(made, sigmoid(perHead(current, parameter(call, `${index}.gate`))));
      else if (gate === 'none') current = made;
      else {
        const low = perHead(current, parameter(call, `${index}.gate_in`));
        current = mul(made, sigmoid(perHead(low, parameter(call, `${index}.gate_out`))));
      }
    }
    return current;
  };
  const settings: LinearSettings = chunk === undefined ? {} : { chunk };
  const featuresOf = (call: MechanismCall): Features => {
    const { scale } = call.options;
    if (scale !== undefined && scale !== 1) throw scaled(scale);
    if (penalty > 0) {
      for (const index of each)
        addLoss(call.context, mul(departure(parameter(call, `${index}.weight`)), penalty));
    }
    const keep = keptInputs(call, layers);
    return {
      query: mapped(call, cast(call.query, 'f32'), keep?.query),
      // Hidden keys may be NaN, and their gradient is 0 times that.
      key: mapped(call, shown(call, call.key), keep?.key),
    };
  };

  return {
    name: 'trainable kernel',
    takes: ['causal', 'keyLengths', 'dropout', 'decoding'],
    refusals: {
      ...noPairs,
      groupedHeads: 'Queries and keys share the feature map of their head',
      zeroShot: `Its feature map is learned with the model. ${notSoftmax}`,
    },
    declare: ({ heads, headDim }) => {
      const rank = Math.floor(headDim / 4);
      if (gate === 'low-rank') requireWhole('trainableKernel', 'rank of the gate, headDim / 4', rank, 1);
      const plain = initializers.normal(headDim ** -0.5);
      const matrix = (rows: number, columns: number, initializer: Initializer): Declaration => ({
        shape: [heads, rows, columns],
        initializer,
      });
      const entries = each.flatMap((index): (readonly [string, Declaration])[] => [
        [`${index}.weight`, matrix(headDim, headDim, orthogonal ? orthogonalPerHead : plain)],
        ...(gate === 'full' ? [[`${index}.gate`, matrix(headDim, headDim, plain)] as const] : []),
        ...(gate === 'low-rank'
          ? [
              [`${index}.gate_in`, matrix(rank, headDim, plain)] as const,
              [`${index}.gate_out`, matrix(headDim, rank, initializers.normal(rank ** -0.5))] as const,
            ]
          : []),
      ]);
      return Object.fromEntries(entries);
    },
    attend: (call) => scope(() => cast(attendLinearly(call, featuresOf(call), settings), call.value.dtype)),
    step: (call, state) =>
      scope(() => {
        const { output, state: next } = stepLinearly(call, state, featuresOf(call), settings);
        return { output: cast(output, call.value.dtype), state: next };
      }),
  };
}

/** Factors of the inputs of each layer, 0 for what is dropped, as one vector each; undefined without dropout. */
function keptInputs(
  { query, key, options }: MechanismCall,
  layers: number,
): { readonly query: Tensor; readonly key: Tensor } | undefined {
  if (options.dropout === undefined) return undefined;
  const [queries, keys] = [layers * query.size, layers * key.size];
  const all = dropout(fill(query.backend, 1, [queries + keys]), options.dropout);
  return { query: narrow(all, 0, 0, queries), key: narrow(all, 0, queries, keys) };
}

/** [heads, d, d]: an orthogonal matrix for each head. */
const orthogonalPerHead: Initializer = (shape, seed) => {
  const [heads = 0, rows = 0, columns = 0] = shape;
  const all = new Float64Array(heads * rows * columns);
  for (let head = 0; head < heads; head++) {
    const own = initializers.orthogonal()([rows, columns], (seed + head) % 2 ** 53);
    all.set(own, head * rows * columns);
  }
  return all;
};

/** mean((A A^T - I)^2) over heads and entries, shape []. */
function departure(weight: Tensor): Tensor {
  return scope(() => {
    const width = weight.shape[1] as number;
    const identity = Float64Array.from({ length: width * width }, (_, at) =>
      at % (width + 1) === 0 ? 1 : 0,
    );
    const products = matmul(weight, weight, { transposeB: true });
    const away = sub(products, tensor(weight.backend, identity, [1, width, width]));
    return mean(mul(away, away));
  });
}

function scaled(scale: number): TopKError {
  return new TopKError('INVALID_OPTION', 'trainableKernel: a scale', {
    expected: 'none: its weights are not functions of scores',
    got: String(scale),
    fix: 'Leave scale out of the layer: its matrices are trained instead',
  });
}
