import { sizeOf } from '@topk-attention/core';
import { dataTypes } from '../../onnx/data-types.js';
import type { Facts, Rule, Rules } from './facts.js';
import { axisOf, broadcast, Conflict, type Known, Unknown, withExtent } from './known.js';

/** Extents of a product of matrices, with leading axes that broadcast. */
function product(a: readonly number[], b: readonly number[]): readonly number[] {
  if (a.length === 0 || b.length === 0) throw new Unknown('a product with a number');
  const left = a.length === 1 ? [1, ...a] : a;
  const right = b.length === 1 ? [...b, 1] : b;
  if (left.at(-1) !== right.at(-2)) throw new Conflict(left.at(-1) as number, right.at(-2) as number);
  const lead = broadcast([left.slice(0, -2), right.slice(0, -2)]);
  return [
    ...lead,
    ...(a.length === 1 ? [] : [left.at(-2) as number]),
    ...(b.length === 1 ? [] : [right.at(-1) as number]),
  ];
}

function turned(dims: readonly number[], isTurned: boolean): readonly number[] {
  if (!isTurned) return dims;
  return [...dims.slice(0, -2), dims.at(-1) as number, dims.at(-2) as number];
}

function matmul(facts: Facts): readonly Known[] {
  const [a, b] = [facts.input(0), facts.input(1)];
  return [{ type: a.type, dims: product(a.dims, b.dims) }];
}

function fusedMatmul(facts: Facts): readonly Known[] {
  const [a, b] = [facts.input(0), facts.input(1)];
  if (facts.int('transBatchA', 0) + facts.int('transBatchB', 0) > 0) throw new Unknown('transposed batches');
  const left = turned(a.dims, facts.int('transA', 0) === 1);
  return [{ type: a.type, dims: product(left, turned(b.dims, facts.int('transB', 0) === 1)) }];
}

function gemm(facts: Facts): readonly Known[] {
  const a = facts.input(0);
  const left = turned(a.dims, facts.int('transA', 0) === 1);
  return [{ type: a.type, dims: product(left, turned(facts.input(1).dims, facts.int('transB', 0) === 1)) }];
}

const wholeMatmul: Rule = (facts) => [
  { type: dataTypes.int32, dims: product(facts.input(0).dims, facts.input(1).dims) },
];

/** ONNX Runtime's of whole numbers with their scales: the input at `like` has the type of the product. */
const scaledMatmul =
  (like: number): Rule =>
  (facts) => [{ type: facts.input(like).type, dims: product(facts.input(0).dims, facts.input(1).dims) }];

/** Weights packed in blocks: the number of columns is an attribute. */
const packedMatmul: Rule = (facts) => {
  const { type, dims } = facts.input(0);
  return [{ type, dims: withExtent(dims, -1, facts.int('N', 0)) }];
};

function einsum(facts: Facts): readonly Known[] {
  const { inputs } = facts;
  const [from = '', to] = facts.text('equation', '').replaceAll(' ', '').split('->');
  const terms = from.split(',');
  if (to === undefined || from.includes('.') || terms.length !== inputs.length) {
    throw new Unknown(`Einsum ${from}`);
  }
  const extents = new Map<string, number>();
  for (const [at, term] of terms.entries()) {
    for (const [axis, letter] of [...term].entries()) {
      extents.set(letter, inputs[at]?.dims[axis] as number);
    }
  }
  return [{ type: facts.input(0).type, dims: [...to].map((letter) => extents.get(letter) as number) }];
}

/** Window operators over the axes after the second, with the extents that the windows leave. */
function windows(facts: Facts, kernel: readonly number[], channels: number): readonly Known[] {
  const { type, dims } = facts.input(0);
  const spatial = dims.length - 2;
  const ones = kernel.map(() => 1);
  const pads = facts.ints('pads') ?? [...ones, ...ones].map(() => 0);
  const strides = facts.ints('strides') ?? ones;
  const dilations = facts.ints('dilations') ?? ones;
  const auto = facts.text('auto_pad', 'NOTSET');
  const round = facts.int('ceil_mode', 0) === 1 ? Math.ceil : Math.floor;
  const extents = kernel.map((width, axis) => {
    const extent = dims[axis + 2] as number;
    const stride = strides[axis] as number;
    if (auto.startsWith('SAME')) return Math.ceil(extent / stride);
    const padded = extent + (pads[axis] as number) + (pads[axis + spatial] as number);
    const reach = (dilations[axis] as number) * (width - 1) + 1;
    if (padded < reach) throw new Unknown(`a window of ${reach} over ${padded}`);
    return round((padded - reach) / stride) + 1;
  });
  return [{ type, dims: [dims[0] as number, channels, ...extents] }];
}

const convolution: Rule = (facts) => {
  const { dims } = facts.input(1);
  return windows(facts, dims.slice(2), dims[0] as number);
};

const pool: Rule = (facts) =>
  windows(facts, facts.ints('kernel_shape') ?? [], facts.input(0).dims[1] as number);

const globalPool: Rule = (facts) => {
  const { type, dims } = facts.input(0);
  return [{ type, dims: dims.map((extent, axis) => (axis < 2 ? extent : 1)) }];
};

const reduced =
  (fold?: (all: readonly number[]) => number): Rule =>
  (facts) => {
    const { type, dims, values } = facts.input(0);
    const list = facts.list('axes', 1) ?? [];
    const keepsAll = list.length === 0 && facts.int('noop_with_empty_axes', 0) === 1;
    const axes =
      list.length === 0 ? dims.map((_, axis) => axis) : list.map((axis) => axisOf(axis, dims.length));
    if (keepsAll) return [{ type, dims }];
    const keeps = facts.int('keepdims', 1) === 1;
    const left = dims.flatMap((extent, axis) => (axes.includes(axis) ? (keeps ? [1] : []) : [extent]));
    if (values === undefined || fold === undefined || sizeOf(left) !== 1) return [{ type, dims: left }];
    return [{ type, dims: left, values: [fold(values)] }];
  };

const arg: Rule = (facts) => {
  const { dims } = facts.input(0);
  const axis = axisOf(facts.int('axis', 0), dims.length);
  const keeps = facts.int('keepdims', 1) === 1;
  return [
    { type: dataTypes.int64, dims: keeps ? withExtent(dims, axis, 1) : dims.filter((_, at) => at !== axis) },
  ];
};

const topK: Rule = (facts) => {
  const { type, dims } = facts.input(0);
  const axis = axisOf(facts.int('axis', -1), dims.length);
  const kept = withExtent(dims, axis, facts.list('k', 1)?.[0] ?? facts.int('k', 0));
  return [
    { type, dims: kept },
    { type: dataTypes.int64, dims: kept },
  ];
};

/** The first output is like the first input; statistics beside it are not of use here. */
const likeFirst: Rule = (facts) => {
  const { type, dims } = facts.input(0);
  return [{ type, dims }];
};

const dropout: Rule = (facts) => {
  const { type, dims } = facts.input(0);
  return [
    { type, dims },
    { type: dataTypes.bool, dims },
  ];
};

/** Output, mean, deviation and, as the fourth, the sum of the inputs. */
const skipNormalization: Rule = (facts) => {
  const { type, dims } = facts.input(0);
  return [{ type, dims }, undefined, undefined, { type, dims }];
};

const quantize: Rule = (facts) => {
  const { dims } = facts.input(0);
  const type = facts.has(2) ? facts.input(2).type : dataTypes.uint8;
  return [{ type, dims }];
};

const dynamicQuantize: Rule = (facts) => [
  { type: dataTypes.uint8, dims: facts.input(0).dims },
  { type: dataTypes.float, dims: [] },
  { type: dataTypes.uint8, dims: [] },
];

const dequantize: Rule = (facts) => [{ type: facts.input(1).type, dims: facts.input(0).dims }];

const sum = (all: readonly number[]): number => all.reduce((total, one) => total + one, 0);

export const productRules: Rules = {
  ArgMax: arg,
  ArgMin: arg,
  AveragePool: pool,
  BatchNormalization: likeFirst,
  Conv: convolution,
  DequantizeLinear: dequantize,
  Dropout: dropout,
  DynamicQuantizeLinear: dynamicQuantize,
  Einsum: einsum,
  Gemm: gemm,
  GlobalAveragePool: globalPool,
  GlobalMaxPool: globalPool,
  GroupNormalization: likeFirst,
  InstanceNormalization: likeFirst,
  LayerNormalization: likeFirst,
  LogSoftmax: likeFirst,
  LpNormalization: likeFirst,
  MatMul: matmul,
  MatMulInteger: wholeMatmul,
  MaxPool: pool,
  QuantizeLinear: quantize,
  RMSNormalization: likeFirst,
  ReduceL2: reduced(),
  ReduceMax: reduced((all) => Math.max(...all)),
  ReduceMean: reduced(),
  ReduceMin: reduced((all) => Math.min(...all)),
  ReduceProd: reduced((all) => sizeOf(all)),
  ReduceSum: reduced(sum),
  ReduceSumSquare: reduced(),
  RotaryEmbedding: likeFirst,
  SimplifiedLayerNormalization: likeFirst,
  Softmax: likeFirst,
  TopK: topK,
  'com.microsoft.DynamicQuantizeMatMul': scaledMatmul(0),
  'com.microsoft.FusedMatMul': fusedMatmul,
  'com.microsoft.MatMulIntegerToFloat': scaledMatmul(2),
  'com.microsoft.MatMulNBits': packedMatmul,
  'com.microsoft.RotaryEmbedding': likeFirst,
  'com.microsoft.SkipLayerNormalization': skipNormalization,
  'com.microsoft.SkipSimplifiedLayerNormalization': skipNormalization,
};
