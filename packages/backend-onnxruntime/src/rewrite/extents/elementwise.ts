import { sizeOf } from '@topk-attention/core';
import { dataTypes } from '../../onnx/data-types.js';
import { intOf } from '../graph/attributes.js';
import type { Facts, Rule, Rules } from './facts.js';
import { broadcast, broadcastValues, type Known, MOST_VALUES } from './known.js';

type Compute = (...operands: readonly number[]) => number;

const truth = (condition: boolean): number => (condition ? 1 : 0);

/** Operators that work element by element, with the function on numbers where shapes are computed with it. */
const unary: { readonly [operator: string]: Compute | undefined } = {
  Abs: Math.abs,
  Acos: undefined,
  Acosh: undefined,
  Asin: undefined,
  Asinh: undefined,
  Atan: undefined,
  Atanh: undefined,
  BitwiseNot: undefined,
  Ceil: Math.ceil,
  Celu: undefined,
  Cos: undefined,
  Cosh: undefined,
  Elu: undefined,
  Erf: undefined,
  Exp: Math.exp,
  Floor: Math.floor,
  Gelu: undefined,
  HardSigmoid: undefined,
  HardSwish: undefined,
  Identity: (x) => x as number,
  LeakyRelu: undefined,
  Log: Math.log,
  Mish: undefined,
  Neg: (x) => -(x as number),
  Reciprocal: (x) => 1 / (x as number),
  Relu: (x) => Math.max(0, x as number),
  Round: undefined,
  Selu: undefined,
  Sigmoid: undefined,
  Sign: Math.sign,
  Sin: undefined,
  Sinh: undefined,
  Softplus: undefined,
  Softsign: undefined,
  Sqrt: Math.sqrt,
  Swish: undefined,
  Tan: undefined,
  Tanh: undefined,
  ThresholdedRelu: undefined,
  'com.microsoft.BiasGelu': undefined,
  'com.microsoft.FastGelu': undefined,
  'com.microsoft.Gelu': undefined,
  'com.microsoft.QuickGelu': undefined,
};

const tests: { readonly [operator: string]: Compute | undefined } = {
  IsInf: undefined,
  IsNaN: undefined,
  Not: (x) => truth(x === 0),
};

const several: { readonly [operator: string]: Compute | undefined } = {
  Add: (a, b) => (a as number) + (b as number),
  BitShift: undefined,
  BitwiseAnd: undefined,
  BitwiseOr: undefined,
  BitwiseXor: undefined,
  Div: (a, b) => (a as number) / (b as number),
  Max: Math.max,
  Mean: undefined,
  Min: Math.min,
  Mod: undefined,
  Mul: (a, b) => (a as number) * (b as number),
  PRelu: undefined,
  Pow: (a, b) => (a as number) ** (b as number),
  Sub: (a, b) => (a as number) - (b as number),
  Sum: (...all) => all.reduce((sum, one) => sum + one, 0),
};

const comparisons: { readonly [operator: string]: Compute } = {
  And: (a, b) => truth(a !== 0 && b !== 0),
  Equal: (a, b) => truth(a === b),
  Greater: (a, b) => truth((a as number) > (b as number)),
  GreaterOrEqual: (a, b) => truth((a as number) >= (b as number)),
  Less: (a, b) => truth((a as number) < (b as number)),
  LessOrEqual: (a, b) => truth((a as number) <= (b as number)),
  Or: (a, b) => truth(a !== 0 || b !== 0),
  Xor: (a, b) => truth((a !== 0) !== (b !== 0)),
};

const isWhole = (type: number): boolean =>
  type === dataTypes.int64 || type === dataTypes.int32 || type === dataTypes.int16 || type === dataTypes.int8;

function computed(operands: readonly Known[], type: number, compute: Compute | undefined): Known {
  const dims = broadcast(operands.map((one) => one.dims));
  const isShort = operands.length <= MOST_VALUES && sizeOf(dims) <= MOST_VALUES;
  const areKnown = isShort && operands.every(({ values }) => values !== undefined);
  if (compute === undefined || !areKnown) return { type, dims };
  const lists = operands.map((one) => broadcastValues(one, dims));
  const values = Array.from({ length: sizeOf(dims) }, (_, at) =>
    compute(...lists.map((list) => list[at] as number)),
  );
  return { type, dims, values: isWhole(type) ? values.map(Math.trunc) : values };
}

const elementwise =
  (compute: Compute | undefined, type?: number): Rule =>
  (facts) => [computed(facts.inputs, type ?? facts.input(0).type, compute)];

/** The first input's extents, whatever the other inputs hold. */
const likeFirst =
  (compute: Compute | undefined, type?: number): Rule =>
  (facts) => {
    const first = facts.input(0);
    return [computed([first], type ?? first.type, compute)];
  };

function where(facts: Facts): readonly Known[] {
  const [condition, a, b] = [facts.input(0), facts.input(1), facts.input(2)];
  return [computed([condition, a, b], a.type, (chosen, x, y) => (chosen === 0 ? y : x) as number)];
}

function cast(facts: Facts): readonly Known[] {
  const x = facts.input(0);
  const type = intOf(facts.node, 'to') ?? facts.input(1).type;
  if (type === dataTypes.string || x.type === dataTypes.string) return [{ type, dims: x.dims }];
  const convert: Compute = (value) =>
    type === dataTypes.bool
      ? truth(value !== 0)
      : isWhole(type)
        ? Math.trunc(value as number)
        : (value as number);
  return [computed([x], type, convert)];
}

const asRules = (
  table: { readonly [operator: string]: Compute | undefined },
  rule: (compute: Compute | undefined) => Rule,
): Rules => Object.fromEntries(Object.entries(table).map(([operator, compute]) => [operator, rule(compute)]));

export const elementwiseRules: Rules = {
  ...asRules(unary, (compute) => likeFirst(compute)),
  ...asRules(tests, (compute) => likeFirst(compute, dataTypes.bool)),
  ...asRules(several, (compute) => elementwise(compute)),
  ...asRules(comparisons, (compute) => elementwise(compute, dataTypes.bool)),
  Cast: cast,
  CastLike: cast,
  Clip: likeFirst(undefined),
  Where: where,
};

/** Operators whose output at a place depends on the inputs at that place alone, with operands that broadcast. */
const pointwise: ReadonlySet<string> = new Set([
  ...Object.keys(unary),
  ...Object.keys(tests),
  ...Object.keys(several),
  ...Object.keys(comparisons),
  'Cast',
  'Clip',
  'Where',
]);

export function isPointwise(operator: string): boolean {
  return pointwise.has(operator);
}
